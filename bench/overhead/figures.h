// The figures: what each measures is said where it is defined, what it promises in engine terms in README.md.
#pragma once

#include <string>
#include <vector>

#include "overhead/lab.h"

namespace coppice::bench {

// One experiment, which may yield several figures.
struct Experiment {
  std::vector<std::string> figures;
  void (*run)(Lab&);
  bool on_request = false;  // only where it is named
};

const std::vector<Experiment>& experiments();
std::vector<std::string> figure_names();

void write_qd1(Lab& lab);
void write_qd32(Lab& lab);
void write_qd128(Lab& lab);
void read_qd1(Lab& lab);
void read_qd32(Lab& lab);
void read_cold(Lab& lab);
void sequential(Lab& lab);
void sync_qd1(Lab& lab);
void depth_1(Lab& lab);
void depth_100(Lab& lab);
void depth_10000(Lab& lab);
void first_write(Lab& lab);
void first_write_fragmented(Lab& lab);
void snapshots_under_load(Lab& lab);
void deletion(Lab& lab);
void rollback(Lab& lab);
void clone(Lab& lab);
void remove_snapshot(Lab& lab);
void diff(Lab& lab);
void space(Lab& lab);
void memory(Lab& lab);
void recovery(Lab& lab);
void allowance_write(Lab& lab);
void allowance_read(Lab& lab);

// Fills the journal of a store until someone kills the process.
int crash_child(const std::string& store);

}  // namespace coppice::bench
