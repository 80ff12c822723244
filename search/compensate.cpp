#include "search/compensate.h"

#include <algorithm>
#include <cmath>

#include "compress/low_rank.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "runtime/products.h"
#include "search/visual_rows.h"

namespace yopo {
namespace {

Moments moments_of(const std::vector<float>& x, const std::vector<float>& target, int64_t width) {
  Moments moments;
  moments.width = width;
  moments.rows = int64_t(x.size()) / width;
  moments.x_sum.assign(size_t(width), 0.0);
  moments.t_sum.assign(size_t(width), 0.0);
  for (size_t i = 0; i < x.size(); ++i) {
    moments.x_sum[i % size_t(width)] += double(x[i]);
    moments.t_sum[i % size_t(width)] += double(target[i]);
  }
  moments.xx.assign(size_t(width * width), 0.0);
  moments.xt.assign(size_t(width * width), 0.0);
  runtime::add_cross_product(x.data(), x.data(), moments.rows, width, width, moments.xx);
  runtime::add_cross_product(x.data(), target.data(), moments.rows, width, width, moments.xt);
  return moments;
}

/// `lacked`: dense less pruned; `with`: the rows with the map's part.
FitError error_of(const std::vector<float>& dense, const std::vector<float>& lacked, const std::vector<float>& with) {
  double all = 0, before = 0, after = 0;
  for (size_t i = 0; i < dense.size(); ++i) {
    const double left = double(dense[i]) - double(with[i]);
    all += double(dense[i]) * double(dense[i]), before += double(lacked[i]) * double(lacked[i]), after += left * left;
  }
  all = std::max(all, 1e-30);
  return {true, std::sqrt(before / all), std::sqrt(after / all)};
}

}  // namespace

Compensator::Compensator(const runtime::Engine& engine, std::vector<ModelInput> pictures, double ridge,
                         int64_t most_rows)
    : pictures_(std::move(pictures)), ridge_(ridge), hidden_(engine.spec().text.hidden_size) {
  dense_.resize(size_t(engine.spec().text.num_hidden_layers));
  (void)engine.traces(pictures_, watching([&](const VisualRows& rows) {
                        if (kept_.empty()) kept_ = spread_rows(rows.rows, most_rows);
                        dense_[size_t(rows.layer)] = gather(rows.x, DType::F32, kept_, hidden_);
                      }));
  ensure(!kept_.empty(), "pictures have visual rows");
}

Plan Compensator::fit(const runtime::Engine& engine, const Plan& plan, const RowsBetween* between, int64_t first,
                      RowsBetween* keep, std::vector<FitError>* errors) const {
  Plan plain = plan, fitted = plan;
  for (LayerPlan& layer : plain.layers) layer.compensation = nullptr;
  if (errors) errors->assign(plan.layers.size(), FitError{});
  if (!is_compensated(plan) && !keep) return fitted;
  TraceOptions options = watching([&](const VisualRows& rows) {
    LayerPlan& layer = fitted.layers[size_t(rows.layer)];
    check_interrupt();
    if (!layer.compensation) return;
    const std::vector<float> normed = gather(rows.normed, rows.type, kept_, hidden_);
    std::vector<float> target = gather(rows.x, DType::F32, kept_, hidden_);
    const std::vector<float>& dense = dense_[size_t(rows.layer)];
    for (size_t i = 0; i < target.size(); ++i) target[i] = dense[i] - target[i];
    auto added = std::make_shared<const Compensation>(fit_low_rank(
        moments_of(normed, target, hidden_), layer.compensation->rank, ridge_, fmt::format("layer {}", rows.layer)));
    runtime::add_compensation(*added, rows);
    if (errors) (*errors)[size_t(rows.layer)] = error_of(dense, target, gather(rows.x, DType::F32, kept_, hidden_));
    layer.compensation = std::move(added);
  });
  options.keep_rows = keep;
  options.from_rows = between;
  options.first_layer = first;
  (void)engine.under(plain).traces(pictures_, options);
  return fitted;
}

}  // namespace yopo
