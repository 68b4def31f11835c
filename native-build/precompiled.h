// Headers that nearly every source file includes, compiled once. Files still
// name what they use; this only saves time.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>
