#define COPPICE_HASH_KERNEL kBaselineKernel
#include "base/hash_kernel.inc"
