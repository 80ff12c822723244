// Standard output: every byte written is known to have been written.
#pragma once

#include <string_view>

namespace yopo::cli {

/// The reader of standard output has left (`| head`): nothing more is wanted, and nothing is wrong.
class ReaderLeft {};

/// Writes to standard output at once, for people: all but the lines is escaped, for it holds names out of files.
/// UserError when that fails, ReaderLeft when nobody reads it.
void print(std::string_view text);
/// The same for programs, and for what a model says: escaped for a terminal only, elsewhere byte by byte.
void print_exactly(std::string_view text);

/// From now on nothing is written: another process has the results.
void mute_output();

/// At the end: what the system tells only when the file is closed. UserError.
void finish_output();

}  // namespace yopo::cli
