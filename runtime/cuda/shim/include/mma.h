// nvcuda::wmma: matrix fragments spread over the 32 lanes of a warp. Which element lies where is not specified by CUDA
// and is scrambled here, so that code which relies on a mapping fails. Sums are kept in fp32, k ascending.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "shim_device.h"

inline namespace cuda_shim_api {
namespace nvcuda::wmma {

struct row_major {};
struct col_major {};
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
enum layout_t { mem_row_major, mem_col_major };

/// Rows and columns of a fragment of an m x n x k product, and where its elements lie.
template <typename Use, int m, int n, int k>
struct FragmentShape {
  static constexpr int rows = std::is_same_v<Use, matrix_b> ? k : m;
  static constexpr int columns = std::is_same_v<Use, matrix_a> ? k : n;
  static constexpr int each = rows * columns / 32;  // elements of a lane
  /// The element (row * columns + column) that lane `lane` holds at x[i]: one to one, as sizes are powers of two.
  static constexpr int element(int lane, int i) {
    constexpr int step = std::is_same_v<Use, matrix_a> ? 37 : std::is_same_v<Use, matrix_b> ? 75 : 101;
    return ((lane * each + i) * step + 13) % (rows * columns);
  }
};

/// Part of a matrix of rows x columns as FragmentShape says. Holds NaN until it is filled or loaded.
template <typename Use, int m, int n, int k, typename T, typename Layout = void>
class fragment {
  static_assert((m == 16 && n == 16 && k == 16) || (m == 32 && n == 8 && k == 16) || (m == 8 && n == 32 && k == 16),
                "CUDA has no such fragment");
  static_assert(std::is_same_v<Use, accumulator>
                    ? std::is_same_v<T, float> && std::is_void_v<Layout>
                    : (std::is_same_v<T, __half> ||
                       std::is_same_v<T, __nv_bfloat16>)&&(std::is_same_v<Layout, row_major> ||
                                                           std::is_same_v<Layout, col_major>),
                "products of __half and __nv_bfloat16 with sums in float are emulated");

 public:
  using Shape = FragmentShape<Use, m, n, k>;
  using element_type = T;
  using storage_element_type = T;
  static constexpr int num_elements = Shape::each;
  T x[num_elements];
  fragment() {
    for (T& value : x) value = NAN;
  }
};

template <typename Use, int m, int n, int k, typename T, typename Layout>
void fill_fragment(fragment<Use, m, n, k, T, Layout>& part, const std::type_identity_t<T>& value) {
  for (T& element : part.x) element = value;
}

}  // namespace nvcuda::wmma
}  // namespace cuda_shim_api

namespace shim::wmma {

using namespace nvcuda::wmma;

/// What a lane brings to a load or a store.
template <typename Fragment, typename Pointer>
struct Transfer {
  Fragment* part;
  Pointer memory;
  unsigned stride;
  bool row_major;
};

/// All 32 lanes are there, with the same memory and stride, which the tensor cores can use.
template <typename Fragment, typename Pointer>
void check_transfer(void* const* lanes) {
  using Lane = Transfer<Fragment, Pointer>;
  for (unsigned i = 0; i < 32; ++i) {
    if (lanes[i] == nullptr) device_error("a matrix fragment needs all 32 lanes of its warp");
    const Lane &first = *static_cast<const Lane*>(lanes[0]), &lane = *static_cast<const Lane*>(lanes[i]);
    if (lane.memory != first.memory || lane.stride != first.stride || lane.row_major != first.row_major)
      device_error("the lanes of a warp give different addresses or strides for one matrix fragment");
  }
  const Lane& lane = *static_cast<const Lane*>(lanes[0]);
  if (reinterpret_cast<uintptr_t>(lane.memory) % 32 != 0)
    device_error("a matrix fragment's address is not a multiple of 32");
  if (lane.stride % (16 / sizeof(*lane.memory)) != 0)
    device_error("a matrix fragment's stride is not a multiple of 16 bytes");
}

template <typename Fragment, typename Pointer, bool Store>
void complete_transfer(void* const* lanes) {
  using Shape = typename Fragment::Shape;
  check_transfer<Fragment, Pointer>(lanes);
  for (int i = 0; i < 32; ++i) {
    const auto& lane = *static_cast<const Transfer<Fragment, Pointer>*>(lanes[i]);
    for (int j = 0; j < Shape::each; ++j) {
      const int element = Shape::element(i, j), row = element / Shape::columns, column = element % Shape::columns;
      const size_t at =
          lane.row_major ? size_t(row) * lane.stride + size_t(column) : size_t(column) * lane.stride + size_t(row);
      if constexpr (Store)
        lane.memory[at] = lane.part->x[j];
      else
        lane.part->x[j] = lane.memory[at];
    }
  }
}
template <typename Fragment, typename Pointer>
inline constexpr Collective load = {"load_matrix_sync", complete_transfer<Fragment, Pointer, false>};
template <typename Fragment, typename Pointer>
inline constexpr Collective store = {"store_matrix_sync", complete_transfer<Fragment, Pointer, true>};

template <typename A, typename B, typename C>
struct Product {
  const A* a;
  const B* b;
  const C* c;
  C* d;
};

template <typename A, typename B, typename C>
void complete_product(void* const* lanes) {
  using Lane = Product<A, B, C>;
  constexpr int rows = C::Shape::rows, columns = C::Shape::columns, depth = A::Shape::columns;
  float a[rows * depth], b[depth * columns], d[rows * columns];
  for (int i = 0; i < 32; ++i) {
    if (lanes[i] == nullptr) device_error("a matrix product needs all 32 lanes of its warp");
    const Lane& lane = *static_cast<const Lane*>(lanes[i]);
    for (int j = 0; j < A::Shape::each; ++j) a[A::Shape::element(i, j)] = float(lane.a->x[j]);
    for (int j = 0; j < B::Shape::each; ++j) b[B::Shape::element(i, j)] = float(lane.b->x[j]);
    for (int j = 0; j < C::Shape::each; ++j) d[C::Shape::element(i, j)] = lane.c->x[j];
  }
  for (int row = 0; row < rows; ++row)
    for (int inner = 0; inner < depth; ++inner)
      for (int column = 0; column < columns; ++column)
        d[row * columns + column] += a[row * depth + inner] * b[inner * columns + column];
  for (int i = 0; i < 32; ++i)
    for (int j = 0; j < C::Shape::each; ++j) static_cast<const Lane*>(lanes[i])->d->x[j] = d[C::Shape::element(i, j)];
}
template <typename A, typename B, typename C>
inline constexpr Collective product = {"mma_sync", complete_product<A, B, C>};

}  // namespace shim::wmma

inline namespace cuda_shim_api {
namespace nvcuda::wmma {

/// Rows of a row-major fragment, columns of a column-major one, lie `stride` elements apart.
template <typename Use, int m, int n, int k, typename T, typename Layout>
void load_matrix_sync(fragment<Use, m, n, k, T, Layout>& part, const T* memory, unsigned stride) {
  static_assert(!std::is_void_v<Layout>);
  shim::wmma::Transfer<fragment<Use, m, n, k, T, Layout>, const T*> mine = {&part, memory, stride,
                                                                            std::is_same_v<Layout, row_major>};
  shim::meet(shim::wmma::load<fragment<Use, m, n, k, T, Layout>, const T*>, 0xffffffffu, &mine);
}
template <int m, int n, int k, typename T>
void load_matrix_sync(fragment<accumulator, m, n, k, T>& part, const T* memory, unsigned stride, layout_t layout) {
  shim::wmma::Transfer<fragment<accumulator, m, n, k, T>, const T*> mine = {&part, memory, stride,
                                                                            layout == mem_row_major};
  shim::meet(shim::wmma::load<fragment<accumulator, m, n, k, T>, const T*>, 0xffffffffu, &mine);
}
template <int m, int n, int k, typename T>
void store_matrix_sync(T* memory, const fragment<accumulator, m, n, k, T>& part, unsigned stride, layout_t layout) {
  shim::wmma::Transfer<const fragment<accumulator, m, n, k, T>, T*> mine = {&part, memory, stride,
                                                                            layout == mem_row_major};
  shim::meet(shim::wmma::store<const fragment<accumulator, m, n, k, T>, T*>, 0xffffffffu, &mine);
}

/// d = a b + c; d may be c.
template <int m, int n, int k, typename T, typename LayoutA, typename LayoutB>
void mma_sync(fragment<accumulator, m, n, k, float>& d, const fragment<matrix_a, m, n, k, T, LayoutA>& a,
              const fragment<matrix_b, m, n, k, T, LayoutB>& b, const fragment<accumulator, m, n, k, float>& c) {
  using A = fragment<matrix_a, m, n, k, T, LayoutA>;
  using B = fragment<matrix_b, m, n, k, T, LayoutB>;
  using C = fragment<accumulator, m, n, k, float>;
  shim::wmma::Product<A, B, C> mine = {&a, &b, &c, &d};
  shim::meet(shim::wmma::product<A, B, C>, 0xffffffffu, &mine);
}

}  // namespace nvcuda::wmma
}  // namespace cuda_shim_api
