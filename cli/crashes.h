// What ends a process from within a library's code: a mapped file that is cut short, memory that is not to be had.
#pragma once

namespace yopo::cli {

/// From now on these end the process with exit code 2 and a message; nothing can go on from there:
/// a read of a mapped file that was cut short, or whose disk fails (it happens in the middle of anybody's arithmetic);
/// memory that is refused where nothing may be thrown (JSON's destructor allocates);
/// where the address space is limited (ulimit -v), a null pointer that a library did not look at: oneDNN's, for one.
void catch_crashes();

}  // namespace yopo::cli
