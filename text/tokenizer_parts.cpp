#include "text/tokenizer_parts.h"

#include <charconv>

#include "core/error.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace yopo::tokenizer_parts {

namespace {

void flatten(const Json& object, const char* list, const std::string& where, int depth, std::vector<Json>& out) {
  if (object.is_null()) return;
  require(depth < 8, "{}: Sequence nested too deep", where);
  if (get_string(object, "type", where) != "Sequence") return out.push_back(object);
  for (const Json& part : get_array(object, list, where)) flatten(part, list, where, depth + 1, out);
}

Rewrite replace_of(const Json& object, const std::string& where) {
  const Json& pattern = get_object(object, "pattern", where);
  require(has(pattern, "String"), "{}: Replace: a pattern of kind '{}' is not supported; supported is String", where,
          pattern.empty() ? "" : printable(pattern.begin().key()));
  Rewrite rewrite{Rewrite::Kind::Replace, get_string(pattern, "String", where), get_string(object, "content", where)};
  require(!rewrite.from.empty(), "{}: Replace: the pattern is empty", where);
  return rewrite;
}

/// The byte of a token "<0x0A>", or -1. The reference parses the digits as an integer, so a plus sign may stand for the
/// first.
int byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  std::string_view digits = token.substr(3, 2);
  if (digits[0] == '+') digits.remove_prefix(1);
  uint8_t value = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  return code == std::errc() && end == digits.data() + digits.size() ? value : -1;
}

/// Runs of byte tokens become the text they encode, or one U+FFFD a byte if that is no UTF-8.
std::vector<std::string> join_bytes(const std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (valid_utf8(bytes)) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    if (const int byte = byte_of(token); byte >= 0) {
      bytes += char(byte);
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

Template template_of(const Json& object, const std::string& where) {
  Template form;
  const Json& specials = get_object(object, "special_tokens", where);
  bool text_seen = false;
  for (const Json& item : get_array(object, "single", where)) {
    if (has(item, "Sequence")) {
      const std::string id = get_string(get_object(item, "Sequence", where), "id", where);
      require(id == "A" && !text_seen, "{}: single: expected the sequence A once", where);
      text_seen = true;
    } else {
      require(has(item, "SpecialToken"), "{}: single: expected Sequence or SpecialToken, found {}", where,
              printable(item.dump()));
      const std::string name = get_string(get_object(item, "SpecialToken", where), "id", where);
      for (const Json& id : get_array(get_object(specials, name, where + ": special_tokens"), "ids", where)) {
        require(id.is_number_integer() && id.get<int64_t>() >= 0, "{}: special token '{}': expected ids, found {}",
                where, printable(name), id.dump());
        (text_seen ? form.after : form.before).push_back(id.get<int64_t>());
      }
    }
  }
  require(text_seen, "{}: single: the sequence A is missing", where);
  return form;
}

std::string strip_characters(std::string_view text, const Rewrite& rule) {
  for (size_t i = 0; i < rule.start && text.starts_with(rule.from); ++i) text.remove_prefix(rule.from.size());
  for (size_t i = 0; i < rule.stop && text.ends_with(rule.from); ++i) text.remove_suffix(rule.from.size());
  return std::string(text);
}

}  // namespace

std::vector<Json> members(const Json& object, const char* list, const std::string& where) {
  std::vector<Json> out;
  flatten(object, list, where, 0, out);
  return out;
}

void unknown_component(const std::string& where, const std::string& type, const std::vector<std::string>& known) {
  fail("{}: '{}' is not supported; supported are {}", where, printable(type), fmt::join(known, ", "));
}

std::vector<Rewrite> read_normalizer(const Json& object, const std::string& where) {
  std::vector<Rewrite> rewrites;
  for (const Json& part : members(object, "normalizers", where)) {
    const std::string type = get_string(part, "type", where);
    if (type == "Prepend") {
      rewrites.push_back({Rewrite::Kind::Prepend, "", get_string(part, "prepend", where)});
    } else if (type == "Replace") {
      rewrites.push_back(replace_of(part, where));
    } else if (type == "NFC") {
      rewrites.push_back({Rewrite::Kind::Nfc});
    } else {
      unknown_component(where, type, {"Sequence", "Prepend", "Replace", "NFC"});
    }
  }
  return rewrites;
}

Template read_post_processor(const Json& object, const std::string& where) {
  Template form;
  bool seen = false;
  for (const Json& part : members(object, "processors", where)) {
    const std::string type = get_string(part, "type", where);
    if (type == "ByteLevel") continue;  // it only mends offsets
    if (type != "TemplateProcessing")
      unknown_component(where, type, {"none", "Sequence", "ByteLevel", "TemplateProcessing"});
    require(!seen, "{}: two TemplateProcessing in one Sequence are not supported", where);
    seen = true;
    form = template_of(part, where);
  }
  return form;
}

std::vector<Rewrite> read_decoder(const Json& object, const std::string& where) {
  std::vector<Rewrite> rewrites;
  for (const Json& part : members(object, "decoders", where)) {
    const std::string type = get_string(part, "type", where);
    if (type == "Replace") {
      rewrites.push_back(replace_of(part, where));
    } else if (type == "ByteFallback") {
      rewrites.push_back({Rewrite::Kind::ByteFallback});
    } else if (type == "ByteLevel") {
      rewrites.push_back({Rewrite::Kind::ByteLevel});
    } else if (type == "Fuse") {
      rewrites.push_back({Rewrite::Kind::Fuse});
    } else if (type == "Strip") {
      Rewrite strip{Rewrite::Kind::Strip, get_string(part, "content", where)};
      require(!strip.from.empty() && first_code_point(strip.from).bytes == strip.from.size(),
              "{}: Strip: content: expected one character, found '{}'", where, printable(strip.from));
      strip.start = size_t(get_int(part, "start", where, 0, INT32_MAX));
      strip.stop = size_t(get_int(part, "stop", where, 0, INT32_MAX));
      rewrites.push_back(strip);
    } else if (type == "Metaspace") {
      const Metaspace space = parse_metaspace(part, where);
      rewrites.push_back({Rewrite::Kind::Metaspace, space.mark, " ", 0, 0, space.prepend != Metaspace::Prepend::Never});
    } else {
      unknown_component(where, type,
                        {"Sequence", "Replace", "ByteFallback", "ByteLevel", "Fuse", "Strip", "Metaspace"});
    }
  }
  return rewrites;
}

std::string normalize(const std::vector<Rewrite>& rewrites, std::string text) {
  for (const Rewrite& rewrite : rewrites) {
    if (rewrite.kind == Rewrite::Kind::Nfc) {
      text = nfc(text);
    } else if (rewrite.kind == Rewrite::Kind::Replace) {
      text = replace_all(text, rewrite.from, rewrite.to);
    } else if (!text.empty()) {
      text = rewrite.to + text;
    }
  }
  return text;
}

std::string decode_tokens(const std::vector<Rewrite>& rewrites, std::vector<std::string> tokens) {
  for (const Rewrite& rewrite : rewrites) {
    switch (rewrite.kind) {
      case Rewrite::Kind::ByteFallback:
        tokens = join_bytes(tokens);
        break;
      case Rewrite::Kind::ByteLevel: {
        std::string bytes;
        for (const std::string& token : tokens) bytes += characters_to_bytes(token);
        tokens = {repair_utf8(bytes)};
        break;
      }
      case Rewrite::Kind::Fuse: {
        std::string whole;
        for (const std::string& token : tokens) whole += token;
        tokens = {whole};
        break;
      }
      default:
        for (size_t i = 0; i < tokens.size(); ++i) {
          if (rewrite.kind == Rewrite::Kind::Strip) {
            tokens[i] = strip_characters(tokens[i], rewrite);
          } else {
            const bool drop = rewrite.kind == Rewrite::Kind::Metaspace && rewrite.first_only && i == 0;
            tokens[i] = replace_all(tokens[i], rewrite.from, drop ? "" : rewrite.to);
          }
        }
    }
  }
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && rewrites.empty()) text += ' ';  // without a decoder the reference joins with spaces
    text += tokens[i];
  }
  return text;
}

std::string clean_up_spaces(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
      {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) text = replace_all(text, from, to);
  return text;
}

}  // namespace yopo::tokenizer_parts
