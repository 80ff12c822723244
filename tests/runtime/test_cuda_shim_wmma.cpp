// Matrix fragments on the emulated CUDA machine against plain products.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

#include <random>

#include "tests/runtime/cuda_shim_fixture.h"
#include "tests/support/close.h"

namespace shim_test {
namespace {

using yopo::testing::close;
using namespace nvcuda;

/// c [m, n] = 2 (a [m, 16] b [16, n] + c), one warp. Memory is laid out as the fragments' layouts say, `slack` longer
/// lines.
template <int m, int n, typename T, typename LayoutA, typename LayoutB>
__global__ void multiply(const T* a, const T* b, float* c, int slack, bool c_by_rows) {
  wmma::fragment<wmma::matrix_a, m, n, 16, T, LayoutA> left;
  wmma::fragment<wmma::matrix_b, m, n, 16, T, LayoutB> right;
  wmma::fragment<wmma::accumulator, m, n, 16, float> sum, other;
  const auto layout = c_by_rows ? wmma::mem_row_major : wmma::mem_col_major;
  const unsigned c_line = unsigned((c_by_rows ? n : m) + slack);
  wmma::load_matrix_sync(left, a, unsigned((std::is_same_v<LayoutA, wmma::row_major> ? 16 : m) + slack));
  wmma::load_matrix_sync(right, b, unsigned((std::is_same_v<LayoutB, wmma::row_major> ? n : 16) + slack));
  wmma::load_matrix_sync(other, c, c_line, layout);
  wmma::fill_fragment(sum, 0.0f);
  for (int i = 0; i < sum.num_elements; ++i) sum.x[i] += other.x[i];
  wmma::mma_sync(sum, left, right, sum);
  for (int i = 0; i < sum.num_elements; ++i) sum.x[i] *= 2.0f;
  wmma::store_matrix_sync(c, sum, c_line, layout);
}

class CudaShimFragments : public CudaShim {
 protected:
  std::vector<float> draw(size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = float(int(random_() % 33) - 16) / 8;  // exact in every type, sums too
    return values;
  }
  template <int m, int n, typename T, typename LayoutA, typename LayoutB>
  void check() {
    for (const int slack : {0, 8, 24})
      for (const bool c_by_rows : {true, false}) {
        const bool a_by_rows = std::is_same_v<LayoutA, wmma::row_major>,
                   b_by_rows = std::is_same_v<LayoutB, wmma::row_major>;
        const int a_line = (a_by_rows ? 16 : m) + slack, b_line = (b_by_rows ? n : 16) + slack,
                  c_line = (c_by_rows ? n : m) + slack;
        const std::vector<float> a = draw(size_t((a_by_rows ? m : 16) * a_line)),
                                 b = draw(size_t((b_by_rows ? 16 : n) * b_line));
        const std::vector<float> c = draw(size_t((c_by_rows ? m : n) * c_line));
        float* out = uploaded(c);
        launch(multiply<m, n, T, LayoutA, LayoutB>, 1, 32, 0, uploaded(std::vector<T>(a.begin(), a.end())),
               uploaded(std::vector<T>(b.begin(), b.end())), out, slack, c_by_rows);
        std::vector<float> expected = c;
        for (int i = 0; i < m; ++i)
          for (int j = 0; j < n; ++j) {
            float& value = expected[size_t(c_by_rows ? i * c_line + j : j * c_line + i)];
            for (int k = 0; k < 16; ++k)
              value += a[size_t(a_by_rows ? i * a_line + k : k * a_line + i)] *
                       b[size_t(b_by_rows ? k * b_line + j : j * b_line + k)];
            value *= 2;
          }
        EXPECT_TRUE(close(downloaded(out, c.size()), expected, 0)) << "slack " << slack << ", by rows " << c_by_rows;
      }
  }
  template <int m, int n, typename T>
  void check_layouts() {
    check<m, n, T, wmma::row_major, wmma::row_major>();
    check<m, n, T, wmma::row_major, wmma::col_major>();
    check<m, n, T, wmma::col_major, wmma::row_major>();
    check<m, n, T, wmma::col_major, wmma::col_major>();
  }

 private:
  std::mt19937 random_{7};
};

TEST_F(CudaShimFragments, ProductsOfEveryShapeTypeAndLayout) {
  check_layouts<16, 16, __half>();
  check_layouts<16, 16, __nv_bfloat16>();
  check_layouts<32, 8, __half>();
  check_layouts<32, 8, __nv_bfloat16>();
  check_layouts<8, 32, __half>();
  check_layouts<8, 32, __nv_bfloat16>();
}

__global__ void load_a(const __half* from, unsigned stride, unsigned lanes) {
  if (threadIdx.x >= lanes) return;
  wmma::fragment<wmma::matrix_a, 16, 16, 16, __half, wmma::row_major> part;
  wmma::load_matrix_sync(part, from, stride);
}
__global__ void store_c(float* to, unsigned stride, bool scatter) {
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> part;
  wmma::fill_fragment(part, 1.0f);
  wmma::store_matrix_sync(scatter ? to + 8 * threadIdx.x : to, part, stride, wmma::mem_row_major);
}

TEST_F(CudaShimFragments, MisuseIsRefused) {
  __half* a = device<__half>(16 * 40);
  float* c = device<float>(16 * 40);
  launch(load_a, 1, 32, 0, a, 20u, 32u);
  EXPECT_NE(thrown().find("stride is not a multiple of 16 bytes"), std::string::npos);
  launch(load_a, 1, 32, 0, a + 8, 16u, 32u);
  EXPECT_NE(thrown().find("address is not a multiple of 32"), std::string::npos);
  launch(load_a, 1, 32, 0, a, 16u, 31u);
  EXPECT_NE(thrown().find("needs all 32 lanes"), std::string::npos);
  launch(load_a, 1, 16, 0, a, 16u, 32u);
  EXPECT_NE(thrown().find("needs all 32 lanes"), std::string::npos);
  launch(store_c, 1, 32, 0, c, 18u, false);
  EXPECT_NE(thrown().find("stride is not a multiple of 16 bytes"), std::string::npos);
  launch(store_c, 1, 32, 0, c + 4, 16u, false);
  EXPECT_NE(thrown().find("address is not a multiple of 32"), std::string::npos);
  launch(store_c, 1, 32, 0, c, 16u, true);
  EXPECT_NE(thrown().find("different addresses"), std::string::npos);
  launch(load_a, 1, 32, 0, a, 24u, 32u);
  launch(store_c, 1, 32, 0, c, 20u, false);
  EXPECT_EQ(thrown(), "");
}

}  // namespace
}  // namespace shim_test
