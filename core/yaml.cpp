#include "core/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <unordered_set>

#include "core/error.h"
#include "core/utf8.h"
#include "core/values.h"

namespace yopo {

namespace {

constexpr size_t kDeepest = 32;

bool is_null_word(std::string_view text) {
  return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
}

/// Builds the tree from the parser's events: their order gives the nesting without recursion of ours, and throwing from
/// an event stops the parser's own recursion at the depth limit.
class YamlBuilder : public YAML::EventHandler {
 public:
  explicit YamlBuilder(const std::string& where) : where_(where) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    require(!started_, "{}: a second document; a recipe is one", place(mark));
    started_ = true;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse(mark, "", anchor);
    put(mark, YamlNode::Kind::Null, "", false);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail("{}: aliases ('*name') are not allowed; write the value again", place(mark));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse(mark, tag, anchor);
    for (const char c : value)
      require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "{}: '{}' holds a control character", place(mark),
              printable(value));
    const bool quoted = tag == "!";
    put(mark, !quoted && is_null_word(value) ? YamlNode::Kind::Null : YamlNode::Kind::Scalar, value, quoted);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse(mark, tag, anchor);
    open(mark, YamlNode::Kind::List);
  }
  void OnSequenceEnd() override { levels_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse(mark, tag, anchor);
    open(mark, YamlNode::Kind::Map);
  }
  void OnMapEnd() override { levels_.pop_back(); }
  void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
    fail("{}: anchors ('&{}') are not allowed; write the value again", place(mark), printable(name));
  }

  std::string place(const YAML::Mark& mark) const {
    return mark.is_null() ? where_ : fmt::format("{}:{}:{}", where_, mark.line + 1, mark.column + 1);
  }
  YamlNode take() { return std::move(root_); }

 private:
  struct Level {
    YamlNode* node;
    bool key_next;  // in a map: the next event is a key
    std::unordered_set<std::string> keys;
  };

  void refuse(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    require(anchor == YAML::NullAnchor, "{}: anchors ('&name') are not allowed; write the value again", place(mark));
    require(tag.empty() || tag == "?" || tag == "!", "{}: the tag '{}' is not allowed", place(mark), printable(tag));
  }

  /// Adds a value where the parser stands; null if it was a key instead.
  YamlNode* put(const YAML::Mark& mark, YamlNode::Kind kind, const std::string& text, bool quoted) {
    YamlNode* node = &root_;
    if (!levels_.empty()) {
      Level& level = levels_.back();
      if (level.node->kind == YamlNode::Kind::List) {
        node = &level.node->items.emplace_back();
      } else if (level.key_next) {
        require(kind == YamlNode::Kind::Scalar, "{}: a key should be a plain word", place(mark));
        require(text != "<<", "{}: merge keys ('<<') are not allowed", place(mark));
        require(level.keys.insert(text).second, "{}: duplicate key '{}'", place(mark), printable(text));
        level.node->entries.push_back({text, place(mark), {}});
        level.key_next = false;
        return nullptr;
      } else {
        node = &level.node->entries.back().value;
        level.key_next = true;
      }
    }
    node->kind = kind;
    node->quoted = quoted;
    node->text = text;
    node->place = place(mark);
    return node;
  }
  void open(const YAML::Mark& mark, YamlNode::Kind kind) {
    require(levels_.size() < kDeepest, "{}: nested more than {} levels deep", place(mark), kDeepest);
    YamlNode* node = put(mark, kind, "", false);
    ensure(node != nullptr, "YAML collection used as a key");
    levels_.push_back({node, true, {}});
  }

  const std::string& where_;
  bool started_ = false;
  YamlNode root_;
  std::vector<Level> levels_;
};

/// The YAML library guesses encodings and takes byte 4 for the end of the text: let only plain UTF-8 reach it.
void check_text(std::string_view text, const std::string& where) {
  int64_t line = 1, column = 1;
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text.substr(at));
    require(length > 0, "{}:{}:{}: not UTF-8 text", where, line, column);
    const auto byte = static_cast<unsigned char>(text[at]);
    require((byte >= 0x20 && byte != 0x7f) || byte == '\n' || byte == '\r' || byte == '\t',
            "{}:{}:{}: control character \\x{:02x}", where, line, column, byte);
    at += length;
    line += byte == '\n';
    column = byte == '\n' ? 1 : column + 1;
  }
}

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const {
  for (const YamlEntry& entry : entries)
    if (entry.key == key) return entry.value.kind == Kind::Null ? nullptr : &entry.value;
  return nullptr;
}

namespace {

/// Whether the line that the parser stopped at, or the one before it, begins with a tab.
bool indented_by_tab(std::string_view text, int line) {
  for (int number = 0; number <= line && !text.empty(); ++number) {
    const std::string_view one = text.substr(0, text.find('\n'));
    const size_t first = one.find_first_not_of(' ');
    if (number + 1 >= line && first != std::string_view::npos && one[first] == '\t') return true;
    text.remove_prefix(std::min(one.size() + 1, text.size()));
  }
  return false;
}

}  // namespace

YamlNode parse_yaml(std::string_view text, const std::string& where) {
  check_text(text, where);
  // The YAML library closes an unfinished quote by itself if the text ends with a newline.
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ' || text.back() == '\t'))
    text.remove_suffix(1);
  YamlBuilder builder(where);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    fail("{}: not valid YAML: {}{}", builder.place(error.mark), printable(error.msg),
         indented_by_tab(text, error.mark.line) ? " (tabs cannot indent YAML)" : "");
  }
  YamlNode root = builder.take();
  if (root.place.empty()) root.place = where;
  return root;
}

void override_yaml(YamlNode& root, const std::string& assignment) {
  constexpr size_t kLongestPath = 16;
  const std::string place = "--set " + printable(assignment);
  const size_t equals = assignment.find('=');
  require(equals != std::string::npos && equals > 0, "{}: expected KEY=VALUE, such as plan.visual_layers=8", place);
  YamlNode value = parse_yaml(std::string_view(assignment).substr(equals + 1), place);

  std::vector<std::string> path;
  std::istringstream keys(assignment.substr(0, equals));
  for (std::string key; std::getline(keys, key, '.');) {
    require(!key.empty(), "{}: an empty key in the path", place);
    path.push_back(key);
  }
  require(!path.empty() && assignment[equals - 1] != '.', "{}: an empty key in the path", place);
  require(path.size() <= kLongestPath, "{}: more than {} keys in the path", place, kLongestPath);

  // The override stands for everything it brings: its own lines and columns would only mislead.
  const auto rename = [&place](YamlNode& node, const auto& self) -> void {
    node.place = place;
    for (YamlNode& item : node.items) self(item, self);
    for (YamlEntry& entry : node.entries) {
      entry.place = place;
      self(entry.value, self);
    }
  };
  rename(value, rename);

  YamlNode* node = &root;
  for (const std::string& key : path) {
    if (node->kind == YamlNode::Kind::List) {
      int64_t index = -1;
      const auto count = int64_t(node->items.size());
      require(parse_decimal(key, index) && index >= 0 && index <= count,
              "{}: '{}' should be an index from 0 to {} (which appends)", place, printable(key), count);
      if (index == count) node->items.emplace_back().place = place;
      node = &node->items[size_t(index)];
      continue;
    }
    if (node->kind != YamlNode::Kind::Map) {
      *node = YamlNode{};
      node->kind = YamlNode::Kind::Map;
      node->place = place;
    }
    const auto it =
        std::find_if(node->entries.begin(), node->entries.end(), [&](const YamlEntry& e) { return e.key == key; });
    if (it != node->entries.end()) {
      node = &it->value;
    } else {
      node->entries.push_back({key, place, {}});
      node = &node->entries.back().value;
    }
  }
  *node = std::move(value);
}

void check_keys(const YamlNode& map, std::string_view name, const std::vector<std::string>& known) {
  const std::string_view what = name.empty() ? "the recipe" : name;
  require(map.kind == YamlNode::Kind::Map, "{}: {} should be a map with {}, found {}", map.place, what,
          fmt::join(known, ", "), yaml_kind(map));
  for (const YamlEntry& entry : map.entries)
    if (std::find(known.begin(), known.end(), entry.key) == known.end())
      fail("{}: unknown key '{}' in {}{}", entry.place, printable(entry.key), what, did_you_mean(entry.key, known));
}

std::string yaml_kind(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::Null:
      return "nothing";
    case YamlNode::Kind::List:
      return "a list";
    case YamlNode::Kind::Map:
      return "a map";
    case YamlNode::Kind::Scalar:
      break;
  }
  return fmt::format("'{}'", printable(node.text));
}

std::string yaml_string(const YamlNode& node, std::string_view name) {
  require(node.kind == YamlNode::Kind::Scalar && !node.text.empty(), "{}: {} should be text, found {}", node.place,
          name, yaml_kind(node));
  return node.text;
}

int64_t yaml_int(const YamlNode& node, std::string_view name, int64_t low, int64_t high) {
  int64_t value = 0;
  require(node.kind == YamlNode::Kind::Scalar && !node.quoted && parse_decimal(node.text, value) && value >= low &&
              value <= high,
          "{}: {} should be an integer in [{}, {}], found {}", node.place, name, low, high, yaml_kind(node));
  return value;
}

double yaml_number(const YamlNode& node, std::string_view name, double low, double high) {
  double value = 0;
  require(node.kind == YamlNode::Kind::Scalar && !node.quoted && parse_decimal(node.text, value) && value >= low &&
              value <= high,
          "{}: {} should be a number in [{}, {}], found {}", node.place, name, low, high, yaml_kind(node));
  return value;
}

bool yaml_bool(const YamlNode& node, std::string_view name) {
  const bool plain = node.kind == YamlNode::Kind::Scalar && !node.quoted;
  if (plain && node.text == "true") return true;
  require(plain && node.text == "false", "{}: {} should be true or false, found {}", node.place, name, yaml_kind(node));
  return false;
}

}  // namespace yopo
