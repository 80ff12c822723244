#include "core/known_keys.h"

#include <algorithm>

#include "core/error.h"
#include "core/remarks.h"

namespace yopo {

namespace {

/// Numbers by value: 1 is 1.0.
bool same_value(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return a.get<double>() == b.get<double>();
  return a == b;
}

bool says_nothing(const KnownKey& known, const Json& value) {
  const Json values = parse_json(known.values, known.key);
  return std::any_of(values.begin(), values.end(), [&](const Json& one) { return same_value(one, value); });
}

std::string shown(const Json& value) { return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace)); }

std::string expected(const KnownKey& known) {
  std::vector<std::string> texts;
  for (const Json& value : parse_json(known.values, known.key)) texts.push_back(value.dump());
  return texts.empty() ? "nothing" : fmt::format("{}", fmt::join(texts, " or "));
}

void check_key(const KnownKey& known, const Json& value, const std::string& where) {
  if (known.use == KeyUse::Read || known.use == KeyUse::Idle || says_nothing(known, value)) return;
  if (known.use == KeyUse::Refused)
    fail("{}: {}: expected {}, found {}; {}", where, known.key, expected(known), shown(value), known.about);
  remark(fmt::format("{}: {} {} has no effect here: {}", where, known.key, shown(value), known.about));
}

}  // namespace

KnownKeys read_keys(std::initializer_list<const char*> keys) {
  KnownKeys list;
  for (const char* key : keys) list.push_back({key, KeyUse::Read, "", ""});
  return list;
}

KnownKeys idle_keys(const std::string& about, std::initializer_list<const char*> keys) {
  KnownKeys list;
  for (const char* key : keys) list.push_back({key, KeyUse::Idle, about, ""});
  return list;
}

KnownKey told_key(const std::string& key, const std::string& values, const std::string& about) {
  return {key, KeyUse::Told, about, values};
}

KnownKey refused_key(const std::string& key, const std::string& values, const std::string& about) {
  return {key, KeyUse::Refused, about, values};
}

KnownKeys joined(std::initializer_list<KnownKeys> lists) {
  KnownKeys all;
  for (const KnownKeys& list : lists)
    for (const KnownKey& known : list) {
      const auto same = [&](const KnownKey& other) { return other.key == known.key; };
      const auto before = std::find_if(all.begin(), all.end(), same);
      if (before == all.end())
        all.push_back(known);
      else
        *before = known;
    }
  return all;
}

void check_keys(const Json& object, const KeyReader& reader, const std::string& where) {
  if (!object.is_object()) return;  // its reader says so
  for (const auto& item : object.items()) {
    const std::string& key = item.key();
    const Json& value = item.value();
    if (value.is_null()) continue;
    const auto known =
        std::find_if(reader.keys.begin(), reader.keys.end(), [&](const KnownKey& k) { return k.key == key; });
    if (known != reader.keys.end()) {
      check_key(*known, value, where);
      continue;
    }
    std::vector<std::string> names;
    for (const KnownKey& one : reader.keys)
      if (one.use == KeyUse::Read) names.push_back(one.key);
    remark(fmt::format("{}: key '{}' is not known here and has no effect{}", where, printable(key),
                       did_you_mean(key, names)));
  }
}

std::string key_table(const std::vector<const KeyReader*>& readers) {
  std::string text;
  const auto names = [](const std::vector<std::string>& keys) {
    std::vector<std::string> quoted;
    quoted.reserve(keys.size());
    for (const std::string& key : keys) quoted.push_back("`" + key + "`");
    return fmt::format("{}", fmt::join(quoted, ", "));
  };
  for (const KeyReader* reader : readers) {
    KnownKeys own;
    for (const KnownKey& known : reader->keys) {
      const auto same = [&](const KnownKey& other) { return other.key == known.key && other.about == known.about; };
      const KnownKeys& common = readers.front()->keys;
      if (reader == readers.front() || known.use == KeyUse::Read || std::none_of(common.begin(), common.end(), same))
        own.push_back(known);
    }
    // Keys of the same use and reason share a line.
    std::vector<std::pair<std::string, std::vector<std::string>>> lines;
    for (const KnownKey& known : own) {
      const std::string about = known.about.empty() ? "" : " (" + known.about + ")";
      const std::string line = known.use == KeyUse::Read   ? "read"
                               : known.use == KeyUse::Idle ? "changes nothing" + about
                               : known.use == KeyUse::Told ? "named in a warning if not " + expected(known) + about
                                                           : "refused if not " + expected(known) + about;
      const auto there = std::find_if(lines.begin(), lines.end(), [&](const auto& one) { return one.first == line; });
      (there == lines.end() ? lines.insert(lines.end(), {line, {}}) : there)->second.push_back(known.key);
    }
    text += "\n**" + reader->name + "**\n\n";
    for (const auto& [line, keys] : lines) text += "- " + line + ": " + names(keys) + "\n";
  }
  return text;
}

}  // namespace yopo
