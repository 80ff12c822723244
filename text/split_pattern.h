// The regular expressions by which byte-level tokenizers cut text into words.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;

namespace yopo {

/// A pattern of tokenizer.json, compiled once. The reference matches with Oniguruma and Unicode 16.0; here PCRE2 does
/// the matching, so only what both read alike is taken, and the classes of characters come from our own tables: the
/// cuts do not depend on the PCRE2 of the machine. Taken are ASCII literals, `|`, groups (?:...) (...) (?>...),
/// lookaround, (?i:...) over plain letters, greedy, lazy and possessive quantifiers, classes of literals and ranges, \r
/// \n \t, \s \S, and \p{..} \P{..} for L, M and N. split() may be called from several threads at once.
class SplitPattern {
 public:
  /// UserError naming `where` and the place in the pattern for anything else, and for a pattern that does not compile.
  SplitPattern(std::string_view pattern, std::string where);

  /// Appends the parts of `text` (well-formed UTF-8): matches and what lies between, in order, none of them empty. The
  /// views point into `text`. UserError when matching costs more than its limits (10 million steps at one place, 20
  /// million at all places that take thousands, 5 seconds of the processor for a text, 64 MiB).
  void split(std::string_view text, std::vector<std::string_view>& parts) const;

 private:
  std::string where_;
  std::shared_ptr<const pcre2_real_code_8> code_;
};

}  // namespace yopo
