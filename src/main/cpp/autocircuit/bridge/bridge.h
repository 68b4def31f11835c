#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#define AUTOCIRCUIT_API __attribute__((visibility("default")))

// All that Java sees. One call does at least one batch's work; no call keeps a
// mode. A handle is an owning reference: every function named new_*, make_* or
// *_to returns one, and exactly one release_* call gives it back. Whatever a
// running call or an autograd node still needs stays alive beyond the release.
//
// Every function may be called from any thread. On failure it throws
// std::runtime_error whose text carries no C++ backtrace.
namespace autocircuit::bridge {

using Tensors = std::vector<at::Tensor>;

// ---- Checkpoints -----------------------------------------------------------

/// Copies tensors out of a file. `layout` describes them one after another:
/// scalar type of the file (c10::ScalarType), first byte, byte past the last
/// one, number of dimensions, dimensions. Each becomes a contiguous tensor of
/// type `dtype` on `device`; the peak is the size of the result.
AUTOCIRCUIT_API Tensors read_tensors(
    const std::string& path,
    const int64_t* layout,
    int64_t layout_size,
    int64_t dtype,
    const std::string& device);

// ---- Models ----------------------------------------------------------------

/// `description` holds key=value lines (see ModelConfig.nativeDescription),
/// `names` the canonical weight names, one a line, in the order of `weights`.
/// The tensors are shared, not copied.
AUTOCIRCUIT_API int64_t new_model(
    const std::string& description,
    const std::string& names,
    const Tensors& weights);
AUTOCIRCUIT_API void release_model(int64_t model);

/// A model of the same structure with its weights on another device.
AUTOCIRCUIT_API int64_t model_to(int64_t model, const std::string& device);

/// The weights of the model that a description describes, in the order of a
/// forward pass: lines of a name and the sizes, with spaces between them.
AUTOCIRCUIT_API std::string weight_shapes(const std::string& description);

/// The weights themselves (no copies), in the order of `model_weight_names`.
AUTOCIRCUIT_API Tensors model_weights(int64_t model);
AUTOCIRCUIT_API std::string model_weight_names(int64_t model);
/// Every hook point that can be read or wrapped, in execution order.
AUTOCIRCUIT_API std::string model_hook_names(int64_t model);

// ---- Patchable models ------------------------------------------------------

/// Injects wrappers. `modules` has one hook name a line; `wrappers` has six
/// numbers for each: srcStart, srcStop (-1, -1: no source), inStart, inStop
/// (-1, -1: no destination), rows (heads of the destination, 0: none), offset
/// of the module's masks in the flat mask vector (-1: none). `seq_len` is 0
/// where one mask serves all positions.
AUTOCIRCUIT_API int64_t make_model_patchable(
    int64_t model,
    const std::string& modules,
    const int64_t* wrappers,
    int64_t wrappers_size,
    int64_t seq_len);
AUTOCIRCUIT_API void release_patchable_model(int64_t model);

/// A cache in which passes that are patched with the same source activations
/// leave what they share: the fully patched run.
AUTOCIRCUIT_API int64_t new_fully_patched_cache();
AUTOCIRCUIT_API void clear_fully_patched_cache(int64_t cache);
AUTOCIRCUIT_API void release_fully_patched_cache(int64_t cache);

/// The plans that passes make from masks that never change; belong to them.
AUTOCIRCUIT_API int64_t new_mask_plans(const at::Tensor& masks);
AUTOCIRCUIT_API at::Tensor mask_plans_tensor(int64_t plans);
AUTOCIRCUIT_API void release_mask_plans(int64_t plans);

// The input of a pass is one vector of tensors, `input`:
//   0: tokens [batch, seq] int64 (micro model: floats [batch, seq, d_model]);
//   1: attention mask [batch, seq] of 0 for padding and 1 for tokens, int64 or
//      bool; undefined for none;
//   2 and on: none, or the keys (before rotation) and the values of a prefix,
//      block by block, each [1 or batch, prefix, key/value heads, d_head].

/// One forward pass. Returns logits of the output slice, then the current
/// source outputs [n_srcs, batch, seq, d_model] (detached) if
/// `want_src_outs`, then one tensor for each line of `reads`.
///
/// input: as above; but if `start_block` >= 0, tensor 0 is the residual stream
///   [batch, seq, d_model] entering that block, and `start_src_outs` [n_srcs,
///   batch, seq, d_model] holds the outputs of the sources before it; undefined
///   for block 0, before which there is no source. start_block: -1 for the
///   whole model.
/// output_slice: 0 all positions, 1 last position ([batch, d_vocab]), 2 all
///   but the first.
/// grad: whether autograd records the pass.
/// patched: false runs the plain model, and every argument after it up to
///   `uniforms` is ignored.
/// patch_src_outs: [n_srcs, batch, seq, d_model]; dimensions may be expanded.
/// fully_patched: a cache that belongs to them, 0 for none.
/// masks: flat [n_masks] or, one set per example, [batch, n_masks]; fp32, or
///   fp64 for fp64 models, like what is made of them: samples and gradients.
/// plans: of masks that never change, 0 for none.
/// mask_fn: 0 none, 1 sigmoid, 2 hard concrete.
/// dropout: probability of dropping a mask value; 0 switches it off.
/// seed, step: choose the noise of hard concrete samples and of dropout.
/// uniforms: undefined, or the hard-concrete uniforms [batch, n_masks].
/// reads: hook names, one a line.
/// policy: 0 the fastest executor that fits, 1 plain operations, 2 all sources
///   and destinations whatever the masks, 3 from the fully patched run.
/// added_at, added: hook names, one a line, and what is added at each.
AUTOCIRCUIT_API Tensors forward(
    int64_t model,
    const Tensors& input,
    int64_t start_block,
    const at::Tensor& start_src_outs,
    int64_t output_slice,
    bool grad,
    bool want_src_outs,
    bool patched,
    const at::Tensor& patch_src_outs,
    int64_t fully_patched,
    const at::Tensor& masks,
    int64_t plans,
    int64_t mask_fn,
    double dropout,
    int64_t seed,
    int64_t step,
    const at::Tensor& uniforms,
    const std::string& reads,
    int64_t policy,
    const std::string& added_at,
    const Tensors& added);

/// A patched pass of which all is kept that passes with a few other masks need;
/// see IncrementalRun. input: tokens first; fully_patched: as for `forward`;
/// masks: [n_masks], without a mask function. The run keeps model and
/// activations alive.
AUTOCIRCUIT_API int64_t new_incremental_run(
    int64_t model,
    const Tensors& input,
    int64_t output_slice,
    const at::Tensor& patch_src_outs,
    int64_t fully_patched,
    const at::Tensor& masks);
AUTOCIRCUIT_API void release_incremental_run(int64_t run);

/// Logits of the pass that differs from the run in the masks at some places,
/// which have one value; of the run itself for a places_size of -1, which is no
/// pass.
AUTOCIRCUIT_API at::Tensor incremental_logits(
    int64_t run,
    const int64_t* places,
    int64_t places_size,
    double value);

/// Makes the last pass the one that later ones differ from.
AUTOCIRCUIT_API void commit_incremental(int64_t run);

/// Source outputs of one batch, ablated: 0 RESAMPLE (as they are), 1 ZERO,
/// 2 BATCH_TOKENWISE_MEAN, 3 BATCH_ALL_TOK_MEAN. Returns [n_srcs, batch, seq,
/// d_model]; dimensions along which the ablation repeats are expanded, not
/// stored. Padding does not count in means. fully_patched: a cache that shall
/// belong to them, 0 for none.
AUTOCIRCUIT_API at::Tensor source_ablations(
    int64_t model,
    const Tensors& input,
    int64_t ablation_type,
    int64_t fully_patched);

/// Gradient of a loss on the logits of the last position with respect to the
/// masks, in one call. Returns the gradient (like `masks`), the loss (no
/// dimensions, the masks' type) and the logits [batch, d_vocab].
///
/// grad_function, applied to the logits: 0 logit, 1 prob, 2 logprob,
///   3 logit_exp.
/// answer_function: 0 avg_diff, 1 avg_val (both negated), 2 mse.
/// answers, wrong_answers: [batch, k] token ids, padded with -1; for mse,
///   `answers` holds the targets [batch, d_vocab].
/// The other arguments are those of `forward`.
AUTOCIRCUIT_API Tensors mask_gradient(
    int64_t model,
    const Tensors& input,
    const at::Tensor& patch_src_outs,
    const at::Tensor& masks,
    int64_t mask_fn,
    double dropout,
    int64_t seed,
    int64_t step,
    const at::Tensor& uniforms,
    int64_t grad_function,
    int64_t answer_function,
    const at::Tensor& answers,
    const at::Tensor& wrong_answers);

/// The same where all masks are `mask_value`, within so many bytes: prompts in
/// parts, and outputs of heads kept small, as far as that needs.
/// corrupt: of the prompts whose source outputs edges are patched with; empty:
/// patch_src_outs, which is undefined otherwise.
/// per_prompt: a gradient for each prompt, of its own loss, [batch, n_masks].
/// frozen_norms...: see BackwardRules.
/// want_differences: a fourth result, patched minus clean outputs of all
/// sources [n_srcs, batch, seq, d_model]; all prompts have to fit at once.
AUTOCIRCUIT_API Tensors edge_attribution(
    int64_t model,
    const Tensors& clean,
    const Tensors& corrupt,
    const at::Tensor& patch_src_outs,
    double mask_value,
    int64_t grad_function,
    int64_t answer_function,
    const at::Tensor& answers,
    const at::Tensor& wrong_answers,
    int64_t memory_limit,
    bool per_prompt,
    bool frozen_norms,
    double softmax_temperature,
    double queries_and_keys,
    double values,
    double gated_mlps,
    bool want_differences);

/// The same for given differences [n_srcs, batch, seq, d_model] at mask value
/// 0, where additions lead; see PointAttribution. start_block: of the residual
/// stream in place of prompts, or -1.
AUTOCIRCUIT_API Tensors point_gradient(
    int64_t model,
    const Tensors& clean,
    int64_t start_block,
    const at::Tensor& differences,
    int64_t src_start,
    int64_t src_stop,
    const std::string& added_at,
    const Tensors& added,
    int64_t grad_function,
    int64_t answer_function,
    const at::Tensor& answers,
    const at::Tensor& wrong_answers,
    bool per_prompt);

/// The changes of a block's attention pattern by sources, each patched by
/// itself into queries or keys, times the loss's gradient in the pattern; see
/// PatternEffects.
AUTOCIRCUIT_API at::Tensor pattern_effects(
    int64_t model,
    const Tensors& stream,
    int64_t block,
    const at::Tensor& differences,
    bool of_keys,
    int64_t position,
    const at::Tensor& pattern,
    const at::Tensor& gradient);

/// The loss of ([runs,] batch, d_vocab) logits alone, in fp32 at least;
/// differentiable. The other arguments are those of `mask_gradient`.
AUTOCIRCUIT_API at::Tensor answer_loss(
    const at::Tensor& logits,
    int64_t grad_function,
    int64_t answer_function,
    const at::Tensor& answers,
    const at::Tensor& wrong_answers);

/// The distance of logits ([batch], (positions), d_vocab) to the full model's,
/// a mean over prompts; differentiable. target: 0 KL divergence, 1 mean squared
/// difference. full_model: for 0 the full model's probabilities and the sum of
/// each times its logarithm, [..., d_vocab + 1], for 1 its logits.
/// attention_mask: [batch, seq], 0 for padding, or undefined.
AUTOCIRCUIT_API at::Tensor divergence(
    int64_t target,
    const at::Tensor& logits,
    const at::Tensor& full_model,
    const at::Tensor& attention_mask);

// ---- Generation ------------------------------------------------------------

/// The keys and values of a sequence of at most `capacity` tokens. patched:
/// whether edges of its tokens may be patched, which may take more bytes.
AUTOCIRCUIT_API int64_t
new_sequence(int64_t model, int64_t capacity, bool patched);
/// A sequence with the first `length` tokens of another.
AUTOCIRCUIT_API int64_t
fork_sequence(int64_t sequence, int64_t length, int64_t capacity);
AUTOCIRCUIT_API void release_sequence(int64_t sequence);
/// The bytes that one takes.
AUTOCIRCUIT_API int64_t
sequence_bytes(int64_t model, int64_t capacity, bool patched);

/// The masks of a request that generates, [n_masks]. What mask function and
/// dropout draw is drawn here, once.
AUTOCIRCUIT_API int64_t new_step_masks(
    int64_t model,
    const at::Tensor& masks,
    int64_t mask_fn,
    double dropout,
    int64_t seed);
AUTOCIRCUIT_API void release_step_masks(int64_t masks);

/// Adds tokens to several sequences, one chunk of tokens to each, in one pass.
/// Returns logits [chunks that want them, d_vocab] and for each line of `reads`
/// the values of the chunks that want them, [chunks, ...]; or nothing if it was
/// stopped. Sequences grow when it returns, and otherwise stay as they are.
///
/// chunks: eight numbers for each: sequence; position of its first token, the
///   length of the sequence; tokens; whether it wants logits, and values of
///   `reads`, of its last token; its donor, a chunk of the same positions that
///   is not patched, or -1; its constant, or -1; step masks, or 0 for a chunk
///   that is not patched.
/// tokens: [1, tokens] int64, of one chunk after another.
/// constants: source activations [n_srcs, 1, positions or 1, d_model].
/// added_at, added_chunks, added: hook names, one a line, and the chunk and
///   what is added there, [1, tokens or 1, d_model].
/// stop_address: of an int32 that ends the step between two blocks once it is
///   not 0, or 0.
AUTOCIRCUIT_API Tensors step(
    int64_t model,
    const int64_t* chunks,
    int64_t chunks_size,
    const at::Tensor& tokens,
    const Tensors& constants,
    const std::string& added_at,
    const int64_t* added_chunks,
    int64_t added_chunks_size,
    const Tensors& added,
    const std::string& reads,
    int64_t stop_address);

// ---- Training of masks -----------------------------------------------------

/// An optimiser, Adam, of masks [n_masks], which it changes where they are. If
/// `node_masks` [n_srcs] are defined, edges are in the circuit as far as both
/// they and their sources are.
AUTOCIRCUIT_API int64_t new_mask_training(
    const at::Tensor& masks,
    const at::Tensor& node_masks,
    double learning_rate);
AUTOCIRCUIT_API void release_mask_training(int64_t training);

/// Its step along gradients like the masks.
AUTOCIRCUIT_API void step_masks_along(
    int64_t training,
    const at::Tensor& gradients);

/// All that later steps depend on, [3, n_masks (+ n_srcs)], and a restart from
/// it.
AUTOCIRCUIT_API at::Tensor mask_training_state(int64_t training);
AUTOCIRCUIT_API void restore_mask_training(
    int64_t training,
    const at::Tensor& state,
    int64_t steps);

/// Forward, loss, backward and a step of the optimiser. The loss is the
/// `divergence` from the full model, and `edge_weight` for each edge of the
/// circuit beyond `circuit_size` (-1: for each edge), and what `constraints`
/// say. Returns five doubles on the CPU: the whole loss, the divergence, the
/// sampled number of edges, what was not finite, so that there was no step (0
/// nothing, 1 logits, 2 losses, 3 gradients), and the sampled number of nodes.
///
/// constraints: undefined, or [1 or 2, 3] doubles on the CPU, for the share of
/// edges, and of nodes, that is not in the circuit: linear and quadratic
/// multiplier of its distance from a target, and that.
/// count_seed, count_step: noise of the masks that are counted.
/// circuit_is_patched: whether patched edges are the circuit, or all others.
/// The other arguments are those of `forward` and of `divergence`.
AUTOCIRCUIT_API at::Tensor train_masks(
    int64_t training,
    int64_t model,
    const Tensors& input,
    int64_t output_slice,
    const at::Tensor& patch_src_outs,
    int64_t mask_fn,
    double dropout,
    int64_t seed,
    int64_t step,
    int64_t count_seed,
    int64_t count_step,
    int64_t target,
    const at::Tensor& full_model,
    bool circuit_is_patched,
    int64_t circuit_size,
    double edge_weight,
    const at::Tensor& constraints);

// ---- PatchWrapper by itself ------------------------------------------------

/// arg0 + sum over sources of f(mask) * (src_acts - curr_src_outs).
/// arg0: [batch, seq, d_model] or [batch, seq, rows, d_model]. src_acts,
/// curr_src_outs: [n, batch, seq, d_model]. mask: ([batch]) ([seq]) ([rows])
/// [n]; `has_rows`, `has_seq` tell which dimensions it has, a further leading
/// one is the batch; fp32 where the others have 16 bits. Differentiable in
/// every tensor. Returns arg0's shape, with a rows dimension if the mask has
/// one.
AUTOCIRCUIT_API at::Tensor interpolate(
    const at::Tensor& arg0,
    const at::Tensor& src_acts,
    const at::Tensor& curr_src_outs,
    const at::Tensor& mask,
    bool has_rows,
    bool has_seq,
    int64_t mask_fn,
    double dropout,
    int64_t seed,
    int64_t step,
    const at::Tensor& uniforms);

/// Writes a module's output, [batch, seq, d_model] or [batch, seq, rows,
/// d_model], into rows src_start... of `curr_src_outs` [n_srcs, batch, seq,
/// d_model].
AUTOCIRCUIT_API void record_source(
    const at::Tensor& output,
    at::Tensor& curr_src_outs,
    int64_t src_start);

/// The mask function alone, as `interpolate` applies it to `batch` examples.
/// batched: whether the first dimension of `masks` is the batch.
AUTOCIRCUIT_API at::Tensor apply_mask_fn(
    const at::Tensor& masks,
    bool batched,
    int64_t batch,
    int64_t mask_fn,
    double dropout,
    int64_t seed,
    int64_t step,
    const at::Tensor& uniforms);

/// loss.backward(), with memory from the pool.
AUTOCIRCUIT_API void backward(const at::Tensor& loss);

// ---- Threads ---------------------------------------------------------------

/// Threads that one call may use.
AUTOCIRCUIT_API void set_num_threads(int64_t n);
AUTOCIRCUIT_API int64_t num_threads();

/// The processor and which kernels compute on it, in a line for people.
AUTOCIRCUIT_API std::string machine();

// ---- Workspaces ------------------------------------------------------------

/// Memory of the buffers that passes take and give back, in use or idle.
AUTOCIRCUIT_API int64_t workspace_bytes();
/// Bytes that tensors held at once at most since the last reset, or, with
/// `idle`, that these buffers held, in use or idle.
AUTOCIRCUIT_API int64_t workspace_peak_bytes(bool idle);
AUTOCIRCUIT_API void reset_workspace_peak();

/// Counts what work on one batch will take; nothing of it is allocated.
/// Returns bytes as int64 on the CPU: of the weights, the masks, activations,
/// deltas, logits, gradients, caches of keys and values, small tensors, and of
/// buffers that are idle when all the others are not.
///
/// sizes: in this order, what the fields are called in MemoryRequest: work,
///   batch, seq, slice, type, padded, mask_fn, ablation (4: the mean over a
///   data set), grad_function, answer_function, answers, memory_limit,
///   per_prompt, frozen_norms, target.
/// factors: dropout, mask_value, softmax_temperature, queries_and_keys, values,
///   gated_mlps.
/// masks: on the CPU; prefix: keys and values, block by block.
AUTOCIRCUIT_API at::Tensor plan_memory(
    int64_t model,
    const int64_t* sizes,
    int64_t sizes_size,
    const double* factors,
    int64_t factors_size,
    const Tensors& masks,
    const Tensors& prefix);

/// Sets how many bytes of it are kept while no pass needs them.
AUTOCIRCUIT_API void set_workspace_limit(int64_t bytes);
AUTOCIRCUIT_API int64_t workspace_limit();

} // namespace autocircuit::bridge
