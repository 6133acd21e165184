// The elementwise and reduction loops of pac-mpi, in plain C so that the compiler vectorises them, with run-time
// dispatch over processor generations. float32 unless a name says otherwise. Outputs come first. Matrices are
// row-major; a `stride` is the distance in floats between the starts of two rows. Pointers do not alias unless a
// comment allows it. Accumulating outputs (+=) say so; all others are overwritten.
#ifndef PAC_CKERNELS_H
#define PAC_CKERNELS_H
#include <stddef.h>
#include <stdint.h>

// ---- elementwise (out may equal any input) ----
void ck_fill(float *out, float value, size_t n);
void ck_add(float *out, const float *a, const float *b, size_t n);
void ck_multiply(float *out, const float *a, const float *b, size_t n);
void ck_scale(float *out, const float *x, float factor, size_t n);
void ck_axpy(float *y, float alpha, const float *x, size_t n);                        // y += alpha x
void ck_add_bias(float *y, const float *bias, size_t rows, size_t columns);           // y[i][:] += bias, y contiguous
void ck_mix(float *out, float g, const float *a, const float *b, size_t n);           // g a + (1 - g) b
void ck_copy_rows(float *out, size_t out_stride, const float *x, size_t x_stride, size_t rows, size_t columns);

// ---- reductions ----
void ck_column_sums(float *sums, const float *x, size_t rows, size_t columns);        // sums[:] += column sums of x
double ck_sum_squares(const float *x, size_t n);                                      // accumulated in double
// <a - b, g>, accumulated in double: the gate's gradient in Parallel Adapters.
double ck_dot_difference(const float *a, const float *b, const float *g, size_t n);
// 64-bit integer importance floor(|w| 2^24), the product in double (structural pruning): sums over rows or columns.
// w must be finite and below 2^38.
void ck_importance_rows(int64_t *scores, const float *w, size_t rows, size_t columns);     // scores[i] += sum_c
void ck_importance_columns(int64_t *scores, const float *w, size_t rows, size_t columns);  // scores[c] += sum_i

// ---- activations: out may equal x; backward: dx = dy * f'(x), dx may equal dy ----
void ck_relu(float *out, const float *x, size_t n);
void ck_relu_backward(float *dx, const float *dy, const float *x, size_t n);
void ck_gelu_erf(float *out, const float *x, size_t n);                               // 0.5 x (1 + erf(x / sqrt 2))
void ck_gelu_erf_backward(float *dx, const float *dy, const float *x, size_t n);
void ck_gelu_tanh(float *out, const float *x, size_t n);  // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
void ck_gelu_tanh_backward(float *dx, const float *dy, const float *x, size_t n);
void ck_silu(float *out, const float *x, size_t n);                                   // x sigmoid(x)
void ck_silu_backward(float *dx, const float *dy, const float *x, size_t n);
void ck_tanh(float *out, const float *x, size_t n);
void ck_tanh_backward(float *dx, const float *dy, const float *y, size_t n);          // y = tanh x, not x

// ---- norms over the last dimension; x contiguous rows ----
// LayerNorm: biased variance, eps inside the root. mean and rstd ([rows]) may be NULL when nothing is saved.
void ck_layer_norm(float *out, float *mean, float *rstd, const float *x, const float *weight, const float *bias,
                   float eps, size_t rows, size_t columns);                           // out may equal x
// dx overwritten (NULL: not wanted; may equal dy); dweight and dbias accumulated (+=), each may be NULL.
void ck_layer_norm_backward(float *dx, float *dweight, float *dbias, const float *dy, const float *x,
                            const float *weight, const float *mean, const float *rstd, size_t rows, size_t columns);
// RMSNorm: x / sqrt(mean(x^2) + eps) * weight.
void ck_rms_norm(float *out, float *rstd, const float *x, const float *weight, float eps, size_t rows, size_t columns);
void ck_rms_norm_backward(float *dx, float *dweight, const float *dy, const float *x, const float *weight,
                          const float *rstd, size_t rows, size_t columns);

// ---- attention, one sequence and one head at a time ----
// In place: scores[q][t] <- softmax over t of (scale scores[q][t] + bias[t - p]) with p = q + (nk - nq), the query's
// position; keys t > p are masked when causal != 0. bias points at distance 0, is indexed from -(nk-1) to nk-1, may be
// NULL. scores is [nq, nk], contiguous.
void ck_attention_softmax(float *scores, const float *bias, float scale, int causal, size_t nq, size_t nk);
// In place on dp ([nq, nk] = dO V^T): ds = p (dp - sum_t p dp); dbias[t - p] += ds (dbias as bias, may be NULL);
// then dp <- scale ds.
void ck_attention_softmax_backward(float *dp, const float *p, float *dbias, float scale, size_t nq, size_t nk);
// Products for narrow heads (h from 1 to 16), where a GEMM call is all overhead. beta is 0 (overwrite: C is not read)
// or 1 (add). Columns between h or n and the stride are neither read nor written.
void ck_narrow_nt(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m, size_t n,
                  size_t h);                                                          // C[m,n] = A[m,h] B[n,h]^T
void ck_narrow_nn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m, size_t n,
                  size_t h, float beta);                                            // C[m,h] = A[m,n] B[n,h] + beta C
void ck_narrow_tn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m, size_t n,
                  size_t h, float beta);                                            // C[n,h] = A[m,n]^T B[m,h] + beta C

// ---- rotary position embedding ----
// Rotates every head's pairs (dimensions p and p + h/2, "rotate half") of row i by the angles of its position. A row of
// `table` is a position: h/2 cosines, then h/2 sines. sign is 1, or -1 to rotate back. out may equal x; contiguous.
void ck_rotate_half(float *out, const float *x, const float *table, const int32_t *positions, float sign, size_t rows,
                    size_t heads, size_t h);

// ---- losses ----
// Cross-entropy of each row: losses[i] = logsumexp(logits[i]) - logits[i][labels[i]]; dlogits (may be NULL, may equal
// logits) = weight * (softmax - onehot). Returns the sum of the losses, in double. Labels must be in range.
double ck_cross_entropy(float *dlogits, const float *logits, const int32_t *labels, float weight, size_t rows,
                        size_t columns);
// Index of the largest element of each row, the lowest index on ties.
void ck_argmax_rows(int32_t *out, const float *x, size_t rows, size_t columns);
void ck_softmax_rows(float *out, const float *x, size_t rows, size_t columns);        // out may equal x

// ---- optimizer ----
// Decoupled AdamW; step counts from 1. p *= 1 - lr wd; m, v updated; p -= lr m^ / (sqrt(v^) + eps). The gradient is
// multiplied by grad_scale first (clipping).
void ck_adamw(float *p, float *m, float *v, const float *g, float lr, float beta1, float beta2, float eps,
              float weight_decay, float grad_scale, int64_t step, size_t n);

// ---- storage types: IEEE half and bfloat16 to and from float32, round to nearest even ----
void ck_float_from_half(float *out, const uint16_t *x, size_t n);
void ck_half_from_float(uint16_t *out, const float *x, size_t n);
void ck_float_from_bfloat16(float *out, const uint16_t *x, size_t n);
void ck_bfloat16_from_float(uint16_t *out, const float *x, size_t n);

// ---- dropout: counter-based, so that neither thread nor plan changes a mask ----
// Element i survives when hash(key, first + i) >= p 2^32 and is then multiplied by 1 / (1 - p); out may equal x.
// The hash is the top 32 bits of Support's CounterRandom; p is from 0 to 1, and 1 drops everything.
void ck_dropout(float *out, const float *x, uint64_t key, uint64_t first, float p, size_t n);

// CRC-32C (Castagnoli) of n bytes, continuing from crc (0 to start).
uint32_t ck_crc32c(uint32_t crc, const void *bytes, size_t n);
// The same without the processor's instruction, for processors that lack it and for the tests.
uint32_t ck_crc32c_portable(uint32_t crc, const void *bytes, size_t n);

// ---- threads ----
typedef void (*ck_part)(void *context, size_t part);
// Lets loops be divided among `count` threads, the calling one among them. Returns how many there are: fewer where the
// system refuses more.
size_t ck_set_thread_count(size_t count);
// How many threads a loop can be divided among here: 1 inside a part.
size_t ck_thread_count(void);
// Calls body(context, part) for every part, on the pool's threads and the calling one, and returns when all are done. In a
// part, and while another caller has the pool, all run on the calling thread.
void ck_for_each_part(size_t parts, ck_part body, void *context);

// ---- the allocator ----
// Whole pages of zeros from the system; NULL when it has no more. They are given back by the same number of bytes.
void *ck_take_pages(size_t bytes);
void ck_give_pages_back(void *pages, size_t bytes);
// Gives freed heap memory back to the system, where the C library can; for the resident size between two phases.
void ck_return_free_memory(void);
// Lets malloc keep freed blocks of up to 256 MB for reuse instead of giving each back: a step allocates what the last one
// freed, and fresh pages from the system cost more than many a kernel. To be called once, before the first large allocation.
void ck_keep_free_memory(void);
#endif
