// A process that simulates machines takes and gives back the same memory over and over, and leaves that of
// each crash behind. From the system each of its pages is a fault, which under some hypervisors was two
// fifths of the time.
#pragma once

namespace coppice::sim {

// To be called first. From then on the heap keeps what is given back, and is of large pages where the system
// has some. Does nothing in a program built to find wrong memory accesses.
void keep_memory();

}  // namespace coppice::sim
