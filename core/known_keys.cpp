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
  for (const auto& [key, value] : object.items()) {
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
    for (const std::string& key : keys) quoted.push_back("`" + key + "`");
    return fmt::format("{}", fmt::join(quoted, ", "));
  };
  for (const KeyReader* reader : readers) {
    text += "\n**" + reader->name + "**\n\n";
    std::vector<std::string> read;
    for (const KnownKey& known : reader->keys)
      if (known.use == KeyUse::Read) read.push_back(known.key);
    text += "- read: " + names(read) + "\n";
    std::vector<std::string> reasons;
    for (const KnownKey& known : reader->keys)
      if (known.use == KeyUse::Idle && std::find(reasons.begin(), reasons.end(), known.about) == reasons.end())
        reasons.push_back(known.about);
    for (const std::string& reason : reasons) {
      std::vector<std::string> keys;
      for (const KnownKey& known : reader->keys)
        if (known.use == KeyUse::Idle && known.about == reason) keys.push_back(known.key);
      text += "- changes nothing (" + reason + "): " + names(keys) + "\n";
    }
    for (const KnownKey& known : reader->keys)
      if (known.use == KeyUse::Told || known.use == KeyUse::Refused)
        text += fmt::format("- {} if not {}: `{}` ({})\n", known.use == KeyUse::Told ? "named in a warning" : "refused",
                            expected(known), known.key, known.about);
  }
  return text;
}

}  // namespace yopo
