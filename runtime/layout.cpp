#include "runtime/layout.h"

#include "core/error.h"

namespace yopo::runtime {

Layout make_layout(const std::vector<ModelInput>& inputs) {
  Layout layout;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string where = fmt::format("request {}", i);
    require(inputs[i].length() > 0, "{}: the prompt is empty", where);
    check_spans(inputs[i].spans, inputs[i].length(), where);
    layout.visual_rows += inputs[i].visual_tokens();
    layout.text_rows += inputs[i].text_tokens();
  }
  layout.before.resize(size_t(layout.rows()));
  int64_t visual_row = 0, text_row = layout.visual_rows;
  for (const ModelInput& input : inputs) {
    RequestRows rows;
    rows.visual_row = visual_row;
    rows.text_row = text_row;
    rows.first_image = int64_t(layout.images.size());
    size_t span = 0;
    for (int64_t token = 0; token < input.length(); ++token) {
      while (span < input.spans.size() && token >= input.spans[span].start + input.spans[span].count()) ++span;
      const bool visual = span < input.spans.size() && token >= input.spans[span].start;
      const int64_t row = visual ? visual_row++ : text_row++;
      rows.row_of.push_back(row);
      if (!visual) {
        layout.before[size_t(row)] = int32_t(rows.visual_rows);
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
