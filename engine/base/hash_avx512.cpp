#define COPPICE_HASH_KERNEL kAvx512Kernel
#include "base/hash_kernel.inc"
