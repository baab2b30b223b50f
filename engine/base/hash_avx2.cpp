#define COPPICE_HASH_KERNEL kAvx2Kernel
#include "base/hash_kernel.inc"
