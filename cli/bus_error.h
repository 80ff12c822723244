// A mapped file that is cut short, or whose disk fails, while it is read.
#pragma once

namespace yopo::cli {

/// From now on such a read ends the process with exit code 2 and a message that names the file. Nothing can go on from
/// there: the read happens in the middle of anybody's arithmetic.
void catch_bus_errors();

}  // namespace yopo::cli
