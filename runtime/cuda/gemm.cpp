#include "runtime/cuda/gemm.h"

#include <cublasLt.h>

#include <bit>
#include <map>
#include <tuple>

#include "core/error.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/kernels.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

// NVIDIA's own advice for Hopper is 32 MiB; older GPUs' kernels ask for less.
constexpr size_t workspace_bytes = size_t(32) << 20;

void check_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  if (status == CUBLAS_STATUS_ALLOC_FAILED) fail("GPU, {}: cuBLASLt has no memory", what);
  throw InternalError(fmt::format("GPU, {}: cuBLASLt status {}", what, int(status)));
}

cudaDataType_t data_type(DType type) {
  switch (type) {
    case DType::F32:
      return CUDA_R_32F;
    case DType::BF16:
      return CUDA_R_16BF;
    case DType::F16:
      return CUDA_R_16F;
    default:
      throw InternalError("matrix products on the GPU are fp32, bf16 or fp16");
  }
}

/// Bytes that the address is a multiple of, up to 256: kernels with wide loads need 16.
uint32_t alignment_of(const void* data) {
  return uint32_t(std::min<uintptr_t>(256, uintptr_t(1) << std::countr_zero(reinterpret_cast<uintptr_t>(data) | 256)));
}

/// Everything that the choice of a kernel depends on.
using Key =
    std::tuple<DType, DType, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, bool, uint32_t, uint32_t, uint32_t>;

/// A product as cuBLASLt describes it. Its matrices are column-major, so out^T [n, m] = w [n, k] a^T is what is asked
/// for: the stored w is w^T to it, the stored a is a^T.
struct Product {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t w = nullptr, a = nullptr, out = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool fused_bias = false;
};

void destroy(const Product& p) {
  cublasLtMatrixLayoutDestroy(p.w);
  cublasLtMatrixLayoutDestroy(p.a);
  cublasLtMatrixLayoutDestroy(p.out);
  cublasLtMatmulDescDestroy(p.operation);
}

// Prompts of ever new lengths bring ever new shapes; choosing a kernel again costs some microseconds.
constexpr size_t most_products = 4096;

struct Library {
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  std::map<Key, Product> products;

  Library() {
    check_blas(cublasLtCreate(&handle), "opening cuBLASLt");
    check(cudaMalloc(&workspace, workspace_bytes), "making room for cuBLASLt's workspace");
  }
};

Library& library() {
  static Library* const instance = new Library;  // as the context: taken back at exit by the driver
  return *instance;
}

cublasLtMatrixLayout_t layout(DType type, int64_t rows, int64_t columns, int64_t stride) {
  cublasLtMatrixLayout_t result = nullptr;
  check_blas(cublasLtMatrixLayoutCreate(&result, data_type(type), uint64_t(rows), uint64_t(columns), stride),
             "describing a matrix");
  return result;
}

template <typename T>
void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, T value) {
  check_blas(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value), "describing a product");
}
template <typename T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, T value) {
  check_blas(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
             "choosing a product's kernel");
}

Product describe(const Gemm& g) {
  Product p;
  check_blas(cublasLtMatmulDescCreate(&p.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
  set(p.operation, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  set(p.operation, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
  // cuBLASLt adds a bias of the output's type only; ours are fp32.
  p.fused_bias = g.bias && g.out_type == DType::F32;
  if (p.fused_bias) {
    set(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(p.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, g.bias);
  }
  p.w = layout(g.type, g.k, g.n, g.ldw);
  p.a = layout(g.type, g.k, g.m, g.lda);
  p.out = layout(g.out_type, g.n, g.m, g.ldo);

  cublasLtMatmulPreference_t preference = nullptr;
  check_blas(cublasLtMatmulPreferenceCreate(&preference), "choosing a product's kernel");
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(g.w));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(g.a));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(g.out));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(g.out));
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  check_blas(cublasLtMatmulAlgoGetHeuristic(library().handle, p.operation, p.w, p.a, p.out, p.out, preference, 1, &best,
                                            &found),
             "choosing a product's kernel");
  check_blas(cublasLtMatmulPreferenceDestroy(preference), "choosing a product's kernel");
  ensure(found == 1, "cuBLASLt has a kernel for every product of the runtime");
  p.algorithm = best.algo;
  return p;
}

}  // namespace

void gemm(const Gemm& g) {
  ensure(g.m > 0 && g.n > 0 && g.k > 0, "a matrix product has a size");
  ensure(!g.accumulate || (g.out_type == DType::F32 && !g.bias), "only fp32 outputs without a bias are added to");
  const cudaStream_t queue = stream();
  Library& lib = library();
  const Key key{g.type,
                g.out_type,
                g.m,
                g.n,
                g.k,
                g.lda,
                g.ldw,
                g.ldo,
                g.bias != nullptr,
                alignment_of(g.a),
                alignment_of(g.w),
                alignment_of(g.out)};
  auto found = lib.products.find(key);
  if (found == lib.products.end()) {
    if (lib.products.size() >= most_products) {
      for (const auto& [old, product] : lib.products) destroy(product);
      lib.products.clear();
    }
    found = lib.products.emplace(key, describe(g)).first;
  }
  const Product& p = found->second;
  if (p.fused_bias) set(p.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, g.bias);
  const float one = 1.0f, beta = g.accumulate ? 1.0f : 0.0f;
  check_blas(cublasLtMatmul(lib.handle, p.operation, &one, g.w, p.w, g.a, p.a, &beta, g.out, p.out, g.out, p.out,
                            &p.algorithm, lib.workspace, workspace_bytes, queue),
             "a matrix product");
  if (checks_launches())
    wait_for_launch(fmt::format("a product [{}, {}] x [{}, {}]", g.m, g.k, g.k, g.n), std::source_location::current());
  if (g.bias && !p.fused_bias) add_bias_to(g.out, g.out_type, g.bias, g.m, g.n, g.ldo);
}

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
