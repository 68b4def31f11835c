// A device that every machine has: "far".
#pragma once

namespace autocircuit::test {

/// Registers a device of LibTorch's type for others' backends. It computes what
/// the CPU does, through copies; but its tensors' addresses mean nothing to the
/// host, so whatever reads them there crashes, operations refuse tensors of the
/// CPU beside its own, and backward passes run on a thread of their own, all as
/// with CUDA.
void install_far_device();

} // namespace autocircuit::test
