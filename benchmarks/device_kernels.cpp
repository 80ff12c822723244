#include "benchmarks/device_kernels.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include "runtime/random_input.h"

namespace yopo::bench {
namespace {

using runtime::Buffer;
using runtime::Ops;
using runtime::random_buffer;

class Kernels {
 public:
  Kernels(const Ops& ops, DType type, const KernelSizes& sizes, double enough)
      : ops_(ops),
        type_(type),
        s_(sizes),
        enough_(enough),
        rows_(s_.side * s_.side + s_.text),
        q_width_(s_.heads * s_.head_dim),
        kv_width_(s_.kv_heads * s_.head_dim) {
    weights_elements_ = 2 * std::max(2 * s_.neurons, q_width_ + 2 * kv_width_) * s_.hidden;
    weights_ = random_buffer(ops_, size_t(weights_elements_), type_);
    const int64_t widest = std::max({2 * s_.neurons, q_width_ + 2 * kv_width_, s_.hidden});
    in_ = random_buffer(ops_, size_t(rows_ * widest), type_);
    out_ = Buffer(ops_, size_t(rows_ * widest) * sizeof(float));
    const std::vector<float> zeros(size_t(rows_ * s_.hidden), 0.0f);
    ops_.upload(out_.data(), zeros.data(), zeros.size() * sizeof(float));
  }

  std::vector<KernelTime> all() {
    for (const int64_t rows : {rows_, s_.text, int64_t(1)}) {
      product("qkv", rows, q_width_ + 2 * kv_width_, s_.hidden, s_.hidden, false);
      product("o", rows, s_.hidden, q_width_, q_width_, true);
      product("gate_up", rows, 2 * s_.neurons, s_.hidden, s_.hidden, false);
      product("down", rows, s_.hidden, s_.neurons, s_.neurons, true);
    }
    // As a plan leaves them: three quarters of the heads, half of the neurons.
    product("o, 3/4", rows_, s_.hidden, q_width_ * 3 / 4, q_width_, true);
    product("gate_up, 1/2", rows_, s_.neurons, s_.hidden, s_.hidden, false);
    product("down, 1/2", rows_, s_.hidden, s_.neurons / 2, s_.neurons, true);
    prefill("dense", s_.heads, -1);
    prefill("window 5", s_.heads, 2);
    prefill("3/4 of the heads, window 5", s_.heads * 3 / 4, 2);
    decode();
    tower();
    elementwise();
    return std::move(times_);
  }

 private:
  double seconds(const std::function<void()>& issue) const {
    if (ops_.seconds_of) return ops_.seconds_of(issue);
    const auto start = std::chrono::steady_clock::now();
    issue();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  void time(const std::string& kernel, Json shape, double flops, double bytes, const std::function<void()>& issue) {
    issue();  // what the first of a shape sets up is not its time
    const double once = seconds(issue);
    const auto calls = int64_t(std::clamp(enough_ / std::max(once, 1e-7), 3.0, 2000.0));
    const double all = seconds([&] {
      for (int64_t i = 0; i < calls; ++i) issue();
    });
    times_.push_back({kernel, s_.model, std::move(shape), 1e3 * all / double(calls), flops, bytes});
  }

  /// rows [m, k] x w [n, k]^T, rows of w ldw apart; `adds`: to fp32 rows, as o and down do.
  void product(const std::string& name, int64_t m, int64_t n, int64_t k, int64_t ldw, bool adds) {
    runtime::Gemm gemm;
    gemm.type = type_;
    gemm.m = m, gemm.n = n, gemm.k = k;
    gemm.a = in_.data(), gemm.lda = k;
    gemm.ldw = ldw;
    gemm.out = out_.data(), gemm.ldo = n;
    gemm.out_type = adds ? DType::F32 : type_, gemm.accumulate = adds;
    const int64_t copies = std::max<int64_t>(1, weights_elements_ / (n * ldw));
    int64_t turn = 0;
    const auto element = double(size_of(type_));
    const double bytes = double(m * k + n * k) * element + double(m * n) * (adds ? 8.0 : element);
    time("product", {{"name", name}, {"m", m}, {"n", n}, {"k", k}, {"ldw", ldw}, {"adds", adds}},
         2.0 * double(m) * double(n) * double(k), bytes, [&] {
           gemm.w = runtime::offset(weights_.data(), type_, (turn++ % copies) * n * ldw);
           ops_.gemm(gemm);
         });
  }

  template <typename T>
  Buffer uploaded(const std::vector<T>& values) const {
    Buffer buffer(ops_, values.size() * sizeof(T));
    ops_.upload(buffer.data(), values.data(), buffer.bytes());
    return buffer;
  }
  std::vector<uint8_t> first(int64_t kept) const {
    std::vector<uint8_t> flags(size_t(s_.heads), 0);
    std::fill_n(flags.begin(), kept, uint8_t(1));
    return flags;
  }
  /// [kv heads][rows] keys, then values.
  static runtime::KvSegment segment(const Buffer& keys, DType type, int64_t heads, int64_t rows, int64_t head_dim) {
    return {keys.data(), runtime::offset(keys.data(), type, heads * rows * head_dim), heads, rows, rows};
  }
  double read_pairs(const Buffer& pairs) const {
    uint64_t found = 0;
    ops_.download(&found, pairs.data(), sizeof found);
    return double(found);
  }

  /// The image stands behind a few text tokens; the question follows.
  void prefill(const std::string& name, int64_t kept, int64_t radius) {
    const int64_t visual = s_.side * s_.side, text = s_.text, before = text / 2;
    const int64_t group = s_.heads / s_.kv_heads, kv_kept = (kept + group - 1) / group;
    std::vector<int32_t> visual_before(size_t(text), 0);
    std::fill(visual_before.begin() + before, visual_before.end(), int32_t(visual));
    const Buffer visual_before_text = uploaded(visual_before),
                 text_before_visual = uploaded(std::vector<int32_t>(size_t(visual), int32_t(before))),
                 image_of = uploaded(std::vector<int32_t>(size_t(visual), 0)),
                 images = uploaded(std::vector<runtime::ImageGrid>{{0, s_.side, s_.side}}),
                 flags = uploaded(first(kept)), pairs = uploaded(std::vector<uint64_t>{0});
    const Buffer visual_keys = random_buffer(ops_, size_t(2 * kv_kept * visual * s_.head_dim), type_),
                 text_keys = random_buffer(ops_, size_t(2 * kv_width_ * text), type_);
    runtime::PrefillRequest request;
    request.visual_rows = visual, request.text_row = visual, request.text_rows = text;
    request.visual_before_text = visual_before_text.as<int32_t>();
    request.text_before_visual = text_before_visual.as<int32_t>();
    request.image_of_visual = image_of.as<int32_t>();
    request.images = images.as<runtime::ImageGrid>();
    request.visual = segment(visual_keys, type_, kv_kept, visual, s_.head_dim);
    request.text = segment(text_keys, type_, s_.kv_heads, text, s_.head_dim);
    runtime::PrefillAttention work;
    work.type = type_;
    work.heads = s_.heads, work.kv_heads = s_.kv_heads, work.head_dim = s_.head_dim;
    work.q = in_.data(), work.out = out_.data();
    work.q_places.stride = work.out_places.stride = q_width_;
    work.kept = work.updated = flags.as<uint8_t>();
    work.window_radius = radius;
    work.requests = {&request, 1};
    work.pairs = pairs.as<uint64_t>();
    ops_.prefill_attention(work);
    const double flops = 4.0 * double(s_.head_dim) * read_pairs(pairs);
    const Json shape{{"name", name},
                     {"visual", visual},
                     {"text", text},
                     {"heads", s_.heads},
                     {"kept", kept},
                     {"kv_heads", s_.kv_heads},
                     {"head_dim", s_.head_dim},
                     {"window_radius", radius}};
    const double bytes =
        (2.0 * double(rows_ * q_width_) + 2.0 * double(kv_kept * s_.head_dim * visual + kv_width_ * text)) *
        double(size_of(type_));
    time("prefill_attention", shape, flops, bytes, [&] { ops_.prefill_attention(work); });
  }

  void decode() {
    const int64_t visual = s_.side * s_.side;
    const Buffer visual_keys = random_buffer(ops_, size_t(2 * kv_width_ * visual), type_),
                 text_keys = random_buffer(ops_, size_t(2 * kv_width_ * s_.text), type_),
                 flags = uploaded(first(s_.heads)), counts = uploaded(std::vector<int32_t>{int32_t(s_.text - 1)}),
                 pairs = uploaded(std::vector<uint64_t>{0});
    const runtime::DecodeRequest request{segment(visual_keys, type_, s_.kv_heads, visual, s_.head_dim),
                                         segment(text_keys, type_, s_.kv_heads, s_.text, s_.head_dim)};
    runtime::DecodeAttention work;
    work.type = type_;
    work.heads = s_.heads, work.kv_heads = s_.kv_heads, work.head_dim = s_.head_dim;
    work.q = in_.data(), work.out = out_.data();
    work.q_places.stride = work.out_places.stride = q_width_;
    work.kept = flags.as<uint8_t>();
    work.counts = counts.as<int32_t>();
    work.requests = {&request, 1};
    work.pairs = pairs.as<uint64_t>();
    const double keys = double(visual + s_.text);
    time("decode_attention",
         {{"keys", visual + s_.text}, {"heads", s_.heads}, {"kv_heads", s_.kv_heads}, {"head_dim", s_.head_dim}},
         4.0 * double(q_width_) * keys, 2.0 * double(kv_width_) * keys * double(size_of(type_)),
         [&] { ops_.decode_attention(work); });
  }

  void tower() {
    const int64_t width = s_.tower_heads * s_.tower_head_dim, rows = s_.tower_pictures * s_.tower_rows;
    const Buffer qkv = random_buffer(ops_, size_t(3 * rows * width), type_),
                 out(ops_, size_t(rows * width) * size_of(type_)), pairs = uploaded(std::vector<uint64_t>{0});
    const auto part = [&](int64_t i) { return runtime::offset(qkv.data(), type_, i * rows * width); };
    const runtime::FullAttention work{type_,   s_.tower_pictures, s_.tower_rows, s_.tower_heads, s_.tower_head_dim,
                                      part(0), part(1),           part(2),       out.data(),     pairs.as<uint64_t>()};
    time("full_attention",
         {{"pictures", s_.tower_pictures},
          {"rows", s_.tower_rows},
          {"heads", s_.tower_heads},
          {"head_dim", s_.tower_head_dim}},
         4.0 * double(width) * double(rows) * double(s_.tower_rows),
         4.0 * double(rows * width) * double(size_of(type_)), [&] { ops_.full_attention(work); });
  }

  void elementwise() {
    const auto element = double(size_of(type_));
    const Buffer x = random_buffer(ops_, size_t(rows_ * s_.hidden), DType::F32),
                 weight = random_buffer(ops_, size_t(s_.hidden), DType::F32),
                 turns = random_buffer(ops_, size_t(rows_ * s_.head_dim / 2), DType::F32);
    time("rms_norm", {{"rows", rows_}, {"columns", s_.hidden}}, 0, double(rows_ * s_.hidden) * (4 + element),
         [&] { ops_.rms_norm(x.as<float>(), weight.as<float>(), 1e-5, rows_, s_.hidden, type_, out_.data()); });
    time("gated", {{"rows", rows_}, {"columns", s_.neurons}}, 0, 3.0 * double(rows_ * s_.neurons) * element, [&] {
      ops_.gated(in_.data(), runtime::offset(in_.data(), type_, s_.neurons), type_, rows_, s_.neurons, 2 * s_.neurons,
                 out_.data());
    });
    const Buffer turned = random_buffer(ops_, size_t(rows_ * q_width_), type_);
    time("rope", {{"rows", rows_}, {"heads", s_.heads}, {"head_dim", s_.head_dim}}, 0,
         2.0 * double(rows_ * q_width_) * element + 4.0 * double(rows_ * s_.head_dim), [&] {
           ops_.rope(turned.data(), type_, rows_, s_.heads, s_.head_dim, q_width_, turns.as<float>(),
                     turns.as<float>());
         });
  }

  const Ops& ops_;
  DType type_;
  const KernelSizes& s_;
  double enough_;
  int64_t rows_, q_width_, kv_width_;
  int64_t weights_elements_ = 0;
  Buffer weights_;   // of several products
  Buffer in_, out_;  // [rows_, the widest of all]
  std::vector<KernelTime> times_;
};

}  // namespace

std::vector<KernelSizes> real_sizes() {
  return {{"llava-1.5-7b", 4096, 11008, 32, 32, 128, 24, 64, 1, 577, 16, 64},
          {"llava-1.5-13b", 5120, 13824, 40, 40, 128, 24, 64, 1, 577, 16, 64},
          {"internvl2-8b", 4096, 14336, 32, 8, 128, 42, 64, 7, 1025, 16, 64},
          {"qwen2-vl-7b", 3584, 18944, 28, 4, 128, 34, 64, 1, 4624, 16, 80}};
}

std::vector<KernelTime> time_kernels(const Ops& ops, DType type, const KernelSizes& sizes, double enough) {
  return Kernels(ops, type, sizes, enough).all();
}

Json to_json(const std::vector<KernelTime>& times) {
  Json list = Json::array();
  for (const KernelTime& time : times)
    list.push_back({{"kernel", time.kernel},
                    {"model", time.model},
                    {"shape", time.shape},
                    {"ms", time.milliseconds},
                    {"tflops", time.flops / time.milliseconds * 1e-9},
                    {"gbytes", time.bytes / time.milliseconds * 1e-6}});
  return list;
}

}  // namespace yopo::bench
