#include "runtime/layout.h"

#include "core/error.h"

namespace yopo::runtime {

Layout make_layout(const std::vector<ModelInput>& inputs, const std::vector<SharedPrefix>& shared) {
  ensure(shared.size() == inputs.size(), "a shared prefix, or none, a request");
  Layout layout;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string where = fmt::format("request {}", i);
    require(inputs[i].length() > 0, "{}: the prompt is empty", where);
    check_spans(inputs[i].spans, inputs[i].length(), where);
    // A shared prefix holds all images, so the rest is text.
    layout.visual_rows += shared[i].leader < 0 ? inputs[i].visual_tokens() : 0;
    layout.text_rows += shared[i].leader < 0 ? inputs[i].text_tokens() : inputs[i].length() - shared[i].tokens;
  }
  layout.before.resize(size_t(layout.rows()));
  int64_t visual_row = 0, text_row = layout.visual_rows;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ModelInput& input = inputs[i];
    RequestRows rows;
    rows.visual_row = visual_row;
    rows.text_row = text_row;
    rows.first_image = int64_t(layout.images.size());
    rows.leader = shared[i].leader;
    size_t span = 0;
    int64_t visual_before = 0;
    if (rows.leader >= 0) {
      ensure(rows.leader < int64_t(i) && shared[i].tokens < input.length(), "a leader comes first and leaves a token");
      const std::vector<int64_t>& leading = layout.requests[size_t(rows.leader)].row_of;
      rows.row_of.assign(leading.begin(), leading.begin() + shared[i].tokens);
      span = input.spans.size();
      visual_before = input.visual_tokens();
      rows.text_before = shared[i].tokens - visual_before;
    }
    for (int64_t token = int64_t(rows.row_of.size()); token < input.length(); ++token) {
      while (span < input.spans.size() && token >= input.spans[span].start + input.spans[span].count()) ++span;
      const bool visual = span < input.spans.size() && token >= input.spans[span].start;
      const int64_t row = visual ? visual_row++ : text_row++;
      rows.row_of.push_back(row);
      if (!visual) {
        layout.before[size_t(row)] = int32_t(visual_before + rows.visual_rows);
        ++rows.text_rows;
        continue;
      }
      if (token == input.spans[span].start)
        layout.images.push_back({rows.visual_rows, input.spans[span].rows, input.spans[span].columns});
      layout.before[size_t(row)] = int32_t(rows.text_rows);
      layout.image_of.push_back(int32_t(int64_t(layout.images.size()) - 1 - rows.first_image));
      ++rows.visual_rows;
    }
    layout.requests.push_back(std::move(rows));
  }
  return layout;
}

}  // namespace yopo::runtime
