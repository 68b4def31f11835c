#pragma once

#include <cstddef>
#include <cstdint>

// Memory for what a pass makes and drops again. Fresh pages cost more than the
// arithmetic on them: the kernel clears each one at its first touch, and
// LibTorch gives large tensors back to it at once. So inside a WorkspaceScope
// CPU tensors take their memory from a pool that keeps what is freed. A block
// stays leased as long as a tensor holds it, through the end of the scope and
// on any thread: what an autograd node saved is never handed out again before
// the node is gone.
namespace autocircuit {

struct WorkspaceStats {
  int64_t leased_bytes; // held by tensors
  int64_t idle_bytes;   // kept for the next pass
  int64_t most_leased;  // at once, since the process or the count began
  int64_t most_held;    // the same with what was idle then
  int64_t fresh_blocks; // taken from the system since the process began
};

/// One pool for the process, shared by all models and threads.
WorkspaceStats workspace_stats();

/// Restarts the counts of most_leased and most_held.
void reset_most_workspace();

/// Sets how many idle bytes are kept, and gives back what is over.
void set_workspace_limit(int64_t bytes);
int64_t workspace_limit();

/// While one is alive on a thread, CPU tensors of 16 KB or more that the thread
/// makes come from the pool. Scopes nest.
class WorkspaceScope {
 public:
  WorkspaceScope();
  ~WorkspaceScope();
  WorkspaceScope(const WorkspaceScope&) = delete;
  WorkspaceScope& operator=(const WorkspaceScope&) = delete;
  WorkspaceScope(WorkspaceScope&&) = delete;
  WorkspaceScope& operator=(WorkspaceScope&&) = delete;
};

} // namespace autocircuit
