// A Jinja text cut into plain text and tags.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace yopo::jinja {

struct Token {
  enum class Kind { End, Name, String, Number, Symbol };
  Kind kind = Kind::End;
  std::string text = "";  // of a string: what it stands for
};

struct Piece {
  enum class Kind { Text, Output, Block };
  Kind kind;
  int line = 0;
  std::string text = "";  // as it is written out: blank control has been applied
  std::vector<Token> tokens = {};
};

/// Comments are gone. UserError "WHERE: line N: ..." for a tag or string that does not end and for a character that
/// begins no token.
std::vector<Piece> pieces_of(std::string_view text, const std::string& where);

}  // namespace yopo::jinja
