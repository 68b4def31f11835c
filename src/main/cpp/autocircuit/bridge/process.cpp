// Settings for the whole process.
#include <ATen/Parallel.h>

#include "autocircuit/bridge/bridge.h"
#include "autocircuit/bridge/errors.h"
#include "autocircuit/bridge/threads.h"
#include "autocircuit/memory/workspace_pool.h"

namespace autocircuit::bridge {

void set_num_threads(int64_t n) {
  translating_errors([&] { set_pool_sizes(n); });
}

int64_t num_threads() {
  return translating_errors([] {
    follow_pool_sizes();
    return static_cast<int64_t>(at::get_num_threads());
  });
}

int64_t workspace_bytes() {
  return translating_errors([] {
    const WorkspaceStats stats = workspace_stats();
    return stats.leased_bytes + stats.idle_bytes;
  });
}

int64_t workspace_peak_bytes(bool idle) {
  return translating_errors([&] {
    const WorkspaceStats stats = workspace_stats();
    return idle ? stats.most_held : stats.most_leased;
  });
}

void reset_workspace_peak() {
  translating_errors([] { reset_most_workspace(); });
}

void set_workspace_limit(int64_t bytes) {
  translating_errors([&] { autocircuit::set_workspace_limit(bytes); });
}

int64_t workspace_limit() {
  return translating_errors([] { return autocircuit::workspace_limit(); });
}

} // namespace autocircuit::bridge
