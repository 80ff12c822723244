// What a reader makes of the keys of a foreign object, said as data: no key passes without a word.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "core/json.h"

namespace yopo {

enum class KeyUse {
  Read,     // the reader takes it, or refuses what it cannot take
  Idle,     // changes nothing here
  Told,     // another value than `values` is named in a remark, and goes without effect
  Refused,  // another value than `values` is an error
};

struct KnownKey {
  std::string key;
  KeyUse use = KeyUse::Read;
  std::string about;   // why it changes nothing, or what another value would mean
  std::string values;  // Told, Refused: a JSON list of the values that say nothing
};
using KnownKeys = std::vector<KnownKey>;

KnownKeys read_keys(std::initializer_list<const char*> keys);
KnownKeys idle_keys(const std::string& about, std::initializer_list<const char*> keys);
KnownKey told_key(const std::string& key, const std::string& values, const std::string& about);
KnownKey refused_key(const std::string& key, const std::string& values, const std::string& about);
/// The lists one behind the other; of a key in several, the last says what is made of it.
KnownKeys joined(std::initializer_list<KnownKeys> lists);

/// The reader of one kind of object: whose keys these are, for messages and for the table in docs/formats.md.
struct KeyReader {
  std::string name;  // "LLaMA's text_config"
  KnownKeys keys;    // each once
};

/// Looks at every key of `object` whose value is not null. A key that the reader does not know is a remark
/// (core/remarks.h) naming `where` and the nearest known key; so is another value of a Told key. UserError naming
/// `where`, key, what is expected and what was found for another value of a Refused one.
void check_keys(const Json& object, const KeyReader& reader, const std::string& where);

/// The readers' keys in Markdown, for docs/formats.md. What a reader makes of a key as the first reader does is not
/// said again.
std::string key_table(const std::vector<const KeyReader*>& readers);

}  // namespace yopo
