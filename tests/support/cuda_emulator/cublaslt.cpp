#include "cublasLt.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "core/error.h"
#include "tests/support/cuda_emulator/product.h"
#include "tests/support/cuda_emulator/runtime.h"

inline namespace cuda_shim_api {

struct cublasLtContext {};
struct cublasLtMatrixLayoutOpaque_t {
  uint32_t type = CUDA_R_32F;
  int32_t order = CUBLASLT_ORDER_COL;
  uint64_t rows = 0, columns = 0;
  int64_t ld = 0;
};
struct cublasLtMatmulDescOpaque_t {
  int32_t compute = CUBLAS_COMPUTE_32F, scale = CUDA_R_32F, pointer_mode = CUBLASLT_POINTER_MODE_HOST;
  int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N, transpose_c = CUBLAS_OP_N;
  uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  int32_t bias_type = -1;  // as the output
};
struct cublasLtMatmulPreferenceOpaque_t {
  uint64_t workspace_bytes = 0;
  std::array<uint32_t, 4> alignments = {256, 256, 256, 256};  // of A, B, C, D
};

}  // namespace cuda_shim_api

namespace shim {

namespace {

using Layout = cublasLtMatrixLayoutOpaque_t;
using Operation = cublasLtMatmulDescOpaque_t;

auto& contexts = *new Handles<cublasLtContext>;
auto& layouts = *new Handles<Layout>;
auto& operations = *new Handles<Operation>;
auto& preferences = *new Handles<cublasLtMatmulPreferenceOpaque_t>;
thread_local std::map<int, std::string> reasons;  // by status, of the latest

cublasStatus_t refuse(cublasStatus_t status, const std::string& why) {
  reasons[status] = why;
  return status;
}
cublasStatus_t invalid(const std::string& why) { return refuse(CUBLAS_STATUS_INVALID_VALUE, why); }
cublasStatus_t unsupported(const std::string& why) { return refuse(CUBLAS_STATUS_NOT_SUPPORTED, why); }

template <typename T>
cublasStatus_t assign(T& member, const void* value, size_t bytes) {
  if (value == nullptr || bytes != sizeof(T))
    return invalid(fmt::format("an attribute of {} bytes, not {}", sizeof(T), bytes));
  std::memcpy(&member, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

size_t element_bytes(uint32_t type) { return type == CUDA_R_32F ? 4 : 2; }

/// What a layout looks like after `operation`; its first element at `data`.
MatrixView view(const Layout& layout, int32_t operation, const void* data) {
  const bool by_columns = layout.order == CUBLASLT_ORDER_COL;
  MatrixView result = {data, cudaDataType_t(layout.type), by_columns ? 1 : layout.ld, by_columns ? layout.ld : 1};
  if (operation != CUBLAS_OP_N) std::swap(result.row_step, result.column_step);
  return result;
}

/// Bytes from the first to past the last element.
size_t extent(const Layout& layout) {
  const uint64_t lines = layout.order == CUBLASLT_ORDER_COL ? layout.columns : layout.rows;
  const uint64_t line = layout.order == CUBLASLT_ORDER_COL ? layout.rows : layout.columns;
  return ((lines - 1) * uint64_t(layout.ld) + line) * element_bytes(layout.type);
}

cublasStatus_t check_layout(const Layout& layout, const char* name) {
  const uint64_t line = layout.order == CUBLASLT_ORDER_COL ? layout.rows : layout.columns;
  const uint64_t most = INT32_MAX;
  if (layout.rows == 0 || layout.columns == 0 || layout.rows > most || layout.columns > most)
    return invalid(fmt::format("{} is {} x {}", name, layout.rows, layout.columns));
  if (layout.ld < int64_t(line) || layout.ld > int64_t(most))
    return invalid(fmt::format("{} has leading dimension {}, its lines are {} long", name, layout.ld, line));
  return CUBLAS_STATUS_SUCCESS;
}

/// Sizes, types and options of a product; m, n, k when it is fine.
cublasStatus_t check_product(const Operation& operation, const Layout& a, const Layout& b, const Layout& c,
                             const Layout& d, ProductTask& task) {
  const std::pair<const Layout*, const char*> all[] = {{&a, "A"}, {&b, "B"}, {&c, "C"}, {&d, "D"}};
  for (const auto& [layout, name] : all)
    if (const cublasStatus_t status = check_layout(*layout, name); status != CUBLAS_STATUS_SUCCESS) return status;
  const bool across_a = operation.transpose_a != CUBLAS_OP_N, across_b = operation.transpose_b != CUBLAS_OP_N;
  task.m = int64_t(across_a ? a.columns : a.rows);
  task.k = int64_t(across_a ? a.rows : a.columns);
  task.n = int64_t(across_b ? b.rows : b.columns);
  const int64_t inner = int64_t(across_b ? b.columns : b.rows);
  if (inner != task.k) return invalid(fmt::format("op(A) has {} columns, op(B) {} rows", task.k, inner));
  for (const Layout* out : {&c, &d})
    if (int64_t(out->rows) != task.m || int64_t(out->columns) != task.n)
      return invalid(
          fmt::format("an output of {} x {} for a product of {} x {}", out->rows, out->columns, task.m, task.n));

  if (operation.compute != CUBLAS_COMPUTE_32F || operation.scale != CUDA_R_32F) return unsupported("sums in fp32 only");
  if (operation.pointer_mode != CUBLASLT_POINTER_MODE_HOST) return unsupported("alpha and beta on the host only");
  if (operation.transpose_c != CUBLAS_OP_N) return unsupported("a transposed C");
  if (a.type != CUDA_R_32F && a.type != CUDA_R_16F && a.type != CUDA_R_16BF)
    return unsupported(fmt::format("type {}", a.type));
  if (b.type != a.type || c.type != d.type || (d.type != CUDA_R_32F && d.type != a.type))
    return unsupported(fmt::format("types {} x {} + {} to {}", a.type, b.type, c.type, d.type));
  if (operation.epilogue != CUBLASLT_EPILOGUE_DEFAULT && operation.epilogue != CUBLASLT_EPILOGUE_BIAS)
    return unsupported(fmt::format("epilogue {}", operation.epilogue));
  // cuBLAS documentation, cublasLtMatmul(): for these types the bias is of the output's type.
  if (operation.epilogue == CUBLASLT_EPILOGUE_BIAS && operation.bias_type != -1 &&
      uint32_t(operation.bias_type) != d.type)
    return unsupported(fmt::format("a bias of type {} for an output of type {}", operation.bias_type, d.type));
  if (machine().major < 8 && a.type == CUDA_R_16BF)
    return refuse(CUBLAS_STATUS_ARCH_MISMATCH, "bf16 before capability 8.0");
  return CUBLAS_STATUS_SUCCESS;
}

// What an algorithm's data hold.
enum AlgorithmField { kProblem, kWorkspace, kAlignment, kFields = kAlignment + 4 };

uint64_t problem_of(const Operation& operation, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a, over words
  const auto add = [&](uint64_t value) { hash = (hash ^ value) * 0x100000001b3u; };
  for (const int32_t value : {operation.transpose_a, operation.transpose_b, int32_t(operation.epilogue)})
    add(uint64_t(value));
  for (const Layout* layout : {&a, &b, &c, &d})
    for (const uint64_t value :
         {uint64_t(layout->type), uint64_t(layout->order), layout->rows, layout->columns, uint64_t(layout->ld)})
      add(value);
  return hash;
}

/// At the time when the product runs.
void ensure_in_device(const char* name, const void* data, size_t bytes) {
  if (place_of(data) != Place::device)
    throw yopo::InternalError(fmt::format("cublasLtMatmul: {} at {} is not in device memory", name, data));
  if (const std::string problem = range_error(data, bytes, true); !problem.empty())
    throw yopo::InternalError(fmt::format("cublasLtMatmul: {} of {} bytes: {}", name, bytes, problem));
}

bool overlap(const void* x, size_t x_bytes, const void* y, size_t y_bytes) {
  const auto a = reinterpret_cast<uintptr_t>(x), b = reinterpret_cast<uintptr_t>(y);
  return a < b + y_bytes && b < a + x_bytes;
}

}  // namespace

size_t live_blas_objects() { return contexts.size() + layouts.size() + operations.size() + preferences.size(); }

}  // namespace shim

inline namespace cuda_shim_api {

using namespace shim;

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_MAPPING_ERROR:
      return "CUBLAS_STATUS_MAPPING_ERROR";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_LICENSE_ERROR:
      return "CUBLAS_STATUS_LICENSE_ERROR";
  }
  return "unknown status";
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  thread_local std::string text;
  text = cublasLtGetStatusName(status);
  if (const auto found = reasons.find(status); found != reasons.end()) text += ": " + found->second;
  return text.c_str();
}

size_t cublasLtGetVersion() { return 130000; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  const Guard guard(api_lock());
  if (usable() != cudaSuccess) return refuse(CUBLAS_STATUS_NOT_INITIALIZED, cudaGetErrorString(cudaGetLastError()));
  if (refuse_in_capture("cublasLtCreate") != cudaSuccess)
    return refuse(CUBLAS_STATUS_ALLOC_FAILED, "a stream is being captured");
  *handle = contexts.add(std::make_unique<cublasLtContext>());
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  const Guard guard(api_lock());
  return contexts.remove(handle) ? CUBLAS_STATUS_SUCCESS : invalid("a handle that does not exist");
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
  const Guard guard(api_lock());
  *layout = layouts.add(std::make_unique<Layout>(Layout{uint32_t(type), CUBLASLT_ORDER_COL, rows, columns, ld}));
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  const Guard guard(api_lock());
  return layouts.remove(layout) ? CUBLAS_STATUS_SUCCESS : invalid("a layout that does not exist");
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  const Guard guard(api_lock());
  if (!layouts.has(layout)) return invalid("a layout that does not exist");
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
      return assign(layout->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER: {
      int32_t order = 0;
      if (const cublasStatus_t status = assign(order, value, bytes); status != CUBLAS_STATUS_SUCCESS) return status;
      if (order != CUBLASLT_ORDER_COL && order != CUBLASLT_ORDER_ROW)
        return unsupported(fmt::format("order {}", order));
      layout->order = order;
      return CUBLAS_STATUS_SUCCESS;
    }
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return assign(layout->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return assign(layout->columns, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return assign(layout->ld, value, bytes);
    default:
      return unsupported(fmt::format("layout attribute {}", int(attribute)));
  }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  const Guard guard(api_lock());
  auto made = std::make_unique<Operation>();
  made->compute = compute;
  made->scale = scale;
  *operation = operations.add(std::move(made));
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  const Guard guard(api_lock());
  return operations.remove(operation) ? CUBLAS_STATUS_SUCCESS : invalid("an operation that does not exist");
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  const Guard guard(api_lock());
  if (!operations.has(operation)) return invalid("an operation that does not exist");
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
      return assign(operation->compute, value, bytes);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
      return assign(operation->scale, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
      return assign(operation->pointer_mode, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return assign(operation->transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return assign(operation->transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSC:
      return assign(operation->transpose_c, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return assign(operation->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return assign(operation->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return assign(operation->bias_type, value, bytes);
  }
  return unsupported(fmt::format("operation attribute {}", int(attribute)));
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  const Guard guard(api_lock());
  *preference = preferences.add(std::make_unique<cublasLtMatmulPreferenceOpaque_t>());
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  const Guard guard(api_lock());
  return preferences.remove(preference) ? CUBLAS_STATUS_SUCCESS : invalid("a preference that does not exist");
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  const Guard guard(api_lock());
  if (!preferences.has(preference)) return invalid("a preference that does not exist");
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return assign(preference->workspace_bytes, value, bytes);
  if (attribute < CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES || attribute > CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES)
    return unsupported(fmt::format("preference attribute {}", int(attribute)));
  return assign(preference->alignments[size_t(attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES)], value, bytes);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* found) {
  const Guard guard(api_lock());
  *found = 0;
  if (!contexts.has(handle) || !operations.has(operation) || !preferences.has(preference) || requested <= 0 ||
      !layouts.has(a) || !layouts.has(b) || !layouts.has(c) || !layouts.has(d))
    return invalid("an object that does not exist, or no algorithm is asked for");
  ProductTask task;
  if (const cublasStatus_t status = check_product(*operation, *a, *b, *c, *d, task); status != CUBLAS_STATUS_SUCCESS)
    return status;
  // Long sums use a workspace where they are allowed one, as a device's split sums do.
  const uint64_t wanted = task.k >= 512 ? uint64_t(task.m) * uint64_t(task.n) * 4 : 0;
  cublasLtMatmulHeuristicResult_t& result = results[0];
  result = {};
  result.workspaceSize = wanted <= preference->workspace_bytes ? wanted : 0;
  result.state = CUBLAS_STATUS_SUCCESS;
  result.wavesCount = 1;
  result.algo.data[kProblem] = problem_of(*operation, *a, *b, *c, *d);
  result.algo.data[kWorkspace] = result.workspaceSize;
  std::copy(preference->alignments.begin(), preference->alignments.end(), result.algo.data + kAlignment);
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  const Guard guard(api_lock());
  if (!contexts.has(handle) || !operations.has(operation) || !layouts.has(a_layout) || !layouts.has(b_layout) ||
      !layouts.has(c_layout) || !layouts.has(d_layout))
    return invalid("an object that does not exist");
  ProductTask task;
  if (const cublasStatus_t status = check_product(*operation, *a_layout, *b_layout, *c_layout, *d_layout, task);
      status != CUBLAS_STATUS_SUCCESS)
    return status;
  if (alpha == nullptr || beta == nullptr || a == nullptr || b == nullptr || d == nullptr)
    return invalid("a null pointer");
  task.alpha = *static_cast<const float*>(alpha);
  task.beta = *static_cast<const float*>(beta);
  if (task.beta != 0 && c == nullptr) return invalid("beta is not 0 and C a null pointer");
  if (operation->epilogue == CUBLASLT_EPILOGUE_BIAS) {
    if (operation->bias == nullptr) return invalid("no bias for an epilogue that adds one");
    task.bias = operation->bias;
  }
  size_t scratch = 0;
  if (algorithm != nullptr) {
    if (algorithm->data[kProblem] != problem_of(*operation, *a_layout, *b_layout, *c_layout, *d_layout))
      return invalid("the algorithm was chosen for another product");
    scratch = algorithm->data[kWorkspace];
    if (scratch > 0 && (workspace == nullptr || workspace_bytes < scratch))
      return invalid(fmt::format("a workspace of {} bytes, the algorithm needs {}", workspace_bytes, scratch));
    const void* const pointers[] = {a, b, task.beta != 0 ? c : d, d};
    for (size_t i = 0; i < 4; ++i)
      if (const uint64_t alignment = std::max<uint64_t>(1, algorithm->data[kAlignment + i]);
          reinterpret_cast<uintptr_t>(pointers[i]) % alignment != 0)
        return invalid(
            fmt::format("{} is at {}, the algorithm was promised multiples of {}", "ABCD"[i], pointers[i], alignment));
  }
  task.a = view(*a_layout, operation->transpose_a, a);
  task.b = view(*b_layout, operation->transpose_b, b);
  task.c = view(*c_layout, CUBLAS_OP_N, c);
  task.d = view(*d_layout, CUBLAS_OP_N, d);
  if (c == d && task.beta != 0 && (task.c.row_step != task.d.row_step || task.c.column_step != task.d.column_step))
    return invalid("C is D, but their layouts differ");

  const size_t a_bytes = extent(*a_layout), b_bytes = extent(*b_layout), c_bytes = extent(*c_layout),
               d_bytes = extent(*d_layout);
  const size_t bias_bytes = task.bias == nullptr ? 0 : size_t(task.m) * element_bytes(d_layout->type);
  const cudaError_t status =
      enqueue(stream, {[=] {
                ensure_in_device("A", a, a_bytes);
                ensure_in_device("B", b, b_bytes);
                if (task.beta != 0) ensure_in_device("C", c, c_bytes);
                ensure_in_device("D", d, d_bytes);
                if (bias_bytes > 0) ensure_in_device("the bias", task.bias, bias_bytes);
                yopo::ensure(!overlap(d, d_bytes, a, a_bytes) && !overlap(d, d_bytes, b, b_bytes) &&
                                 !overlap(d, d_bytes, task.bias, bias_bytes),
                             "cublasLtMatmul: D overlaps what it is computed from");
                if (scratch > 0) {
                  ensure_in_device("the workspace", workspace, scratch);
                  std::memset(workspace, 0xff, scratch);
                }
                multiply(task);
              }});
  if (status == cudaSuccess) return CUBLAS_STATUS_SUCCESS;
  return refuse(CUBLAS_STATUS_EXECUTION_FAILED, cudaGetErrorString(status));
}

}  // namespace cuda_shim_api
