/* Planted defects, one of each kind that the harness claims to find. */
#ifndef FAULTS_H
#define FAULTS_H

/* name, and where it must be found: S the harness in every build, C the race-check build, A the
 * sanitizer build, P a wrong result in the plain build with the threads in order. */
#define FAULTS(X)                                                                                  \
  X(none, "")                                                                                      \
  X(misaligned_vector, "SCA")                                                                      \
  X(global_write_past_end, "CA")                                                                   \
  X(partial_warp_shuffle, "SCA")                                                                   \
  X(static_shared_past_end, "CA")                                                                  \
  X(divergent_barrier, "SCA")                                                                      \
  X(reduction_without_barrier, "CP")                                                               \
  X(race_between_blocks, "C")                                                                      \
  X(dynamic_shared_past_end, "CA")                                                                 \
  X(global_read_past_end, "CA")                                                                    \
  X(missing_barrier_before_read, "CP")                                                             \
  X(missing_barrier_before_write, "C")                                                             \
  X(shared_read_unwritten, "CP")                                                                   \
  X(async_copy_not_awaited, "SCA")                                                                 \
  X(async_copy_without_syncwarp, "CP")                                                             \
  X(fragment_swapped, "P")                                                                         \
  X(fragment_not_transposed, "P")                                                                  \
  X(matrix_misaligned, "SCA")                                                                      \
  X(matrix_by_half_a_warp, "SCA")                                                                  \
  X(product_by_half_a_warp, "SCA")                                                                 \
  X(async_copy_misaligned, "SCA")                                                                  \
  X(pair_misaligned, "SCA")                                                                        \
  X(pair_swapped, "P")                                                                             \
  X(half_truncated, "P")                                                                           \
  X(half_read_past_end, "CA")                                                                      \
  X(half_shared_past_end, "CA")                                                                    \
  X(half_word_without_barrier, "CP")                                                               \
  X(half_word_unwritten, "CP")                                                                     \
  X(exit_before_barrier, "SCA")                                                                    \
  X(shuffle_from_inactive_lane, "SCA")                                                             \
  X(warp_lockstep_assumed, "C")                                                                    \
  X(host_pointer_in_kernel, "C")                                                                   \
  X(device_pointer_on_host, "A")                                                                   \
  X(shared_beyond_limit, "SCA")

enum fault {
#define X(name, found) FAULT_##name,
  FAULTS(X)
#undef X
      FAULT_COUNT
};

/* Runs the kernel that `fault` is planted in; true if its result is right. */
bool run_with_fault(enum fault fault);

#endif
