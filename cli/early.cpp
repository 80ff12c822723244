// What must come before the initialisers of the libraries, which take a tenth of a second and may start threads.
#include <errno.h>
#include <fcntl.h>

#include "core/interrupt.h"

namespace {

/// A closed standard descriptor would be the next file that is opened: a table would be printed into the journal. What
/// takes its place fails on use, and stderr swallows.
void fill_standard_descriptors() {
  for (int descriptor = 0; descriptor < 3; ++descriptor)
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF)
      (void)::open("/dev/null", descriptor == 1 ? O_RDONLY : O_WRONLY);
}

void before_initialisers(int, char**, char**) {
  fill_standard_descriptors();
  // A signal that comes from here on waits until main() can answer it.
  yopo::block_interrupts();
}

// The dynamic linker calls these of the program before any initialiser of a library.
[[gnu::used, gnu::section(".preinit_array")]] void (*g_before_initialisers)(int, char**, char**) = before_initialisers;

}  // namespace
