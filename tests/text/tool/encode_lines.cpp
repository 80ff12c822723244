// What tests/python/test_tokenizers.py asks of our tokenizers: encode_lines FOLDER answers each JSON line of its
// standard input with one JSON line.
//   "text"                                      -> [ids, ids without what the tokenizer itself adds]
//   {"ids": [...]}                              -> [text without special tokens, text with them]
//   {"question", "family", "images": [n]}       -> the prompt, n placeholders an image; with "template" by its name
//   {"jinja", "variables": {...}}               -> {"text"} or {"error"}
#include <iostream>

#include "core/json.h"
#include "models/prompt_template.h"
#include "models/spec.h"
#include "text/jinja.h"
#include "text/tokenizer.h"

int main(int argc, char** argv) try {
  using namespace yopo;
  require(argc == 2, "expected one argument, the folder");
  const fs::path folder = argv[1];
  std::unique_ptr<Tokenizer> tokenizer;  // prompts need none
  const auto tokens = [&]() -> const Tokenizer& {
    if (!tokenizer) tokenizer = open_tokenizer(folder);
    return *tokenizer;
  };
  for (std::string line; std::getline(std::cin, line);) {
    const Json asked = parse_json(line, "standard input");
    Json answer;
    if (asked.is_string()) {
      const std::string text = asked.get<std::string>();
      answer = {tokens().encode(text), tokens().encode(text, false)};
    } else if (has(asked, "ids")) {
      const auto ids = asked["ids"].get<std::vector<int64_t>>();
      answer = {tokens().decode(ids), tokens().decode(ids, false)};
    } else if (has(asked, "jinja")) {
      try {
        answer["text"] = Jinja(asked["jinja"].get<std::string>(), "jinja").render(asked.at("variables"));
      } catch (const UserError& error) {
        answer["error"] = error.what();
      }
    } else {
      ModelSpec spec;
      spec.family = asked.at("family").get<std::string>();
      const PromptTemplate form = prompt_template(folder, spec, get_string_or(asked, "template", "question", ""));
      answer = render(form, asked.at("question").get<std::string>(), asked.at("images").get<std::vector<int64_t>>());
    }
    std::cout << answer.dump(-1, ' ', true) << '\n';
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
