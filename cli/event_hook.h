// EventHook: runs the administrator's command when something has happened.
//
// A thread of its own starts the command and waits for it, one event after the other, so the reactor never
// does. The command is told by its environment: COPPICE_EVENT, COPPICE_STORE and what belongs to the event.
// One that takes longer than half a minute is killed. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>

namespace coppice::cli {

struct Event {
  std::string name;
  std::map<std::string, std::string> details;  // as environment variables
};

class EventHook {
 public:
  // `command` is the shell's; empty: there is none.
  EventHook(std::string command, std::string store);
  // What is waiting is dropped; a command that runs is left to itself.
  ~EventHook();
  EventHook(const EventHook&) = delete;
  EventHook& operator=(const EventHook&) = delete;

  void fire(Event event);

 private:
  void work();
  void run(const Event& event);
  bool wait_for(int pid);
  bool pause();  // true: the end has come

  std::string command_;
  std::string store_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> waiting_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace coppice::cli
