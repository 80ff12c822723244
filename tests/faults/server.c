// Preloaded into a command: main() waits for requests and answers each in a fork of the process. What runs is the same main() after the
// same initialisers, without the third of a second that the dynamic linker takes for LibTorch.
//   YOPO_SERVER   "IN OUT": the descriptors of requests and replies; without it main() is left alone
// A request: its size as four bytes, then texts, a zero byte after each: a file for stdout, one for stderr, the call, which of them and
// the kind (shim.c; "" for none), then the arguments from argv[0] on. The reply: the fork's id, and when it has ended how, as waitid says
// (si_code, si_status), each number as four bytes. Its id stays taken until the next request, so a late signal reaches nobody else.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 16, MOST_TEXTS = 256, BEFORE_ARGUMENTS = 5 };

static int (*command)(int, char**, char**);

static _Noreturn void stop(const char* why) {
  fprintf(stderr, "fault server: %s: %s\n", why, strerror(errno));
  _exit(99);
}

static int get(int from, void* to, size_t size) {
  for (char* at = to; size > 0;) {
    const ssize_t step = read(from, at, size);
    if (step < 0 && errno == EINTR) continue;
    if (step <= 0) return 0;
    at += step;
    size -= (size_t)step;
  }
  return 1;
}

static void put(int to, int32_t number) {
  if (write(to, &number, sizeof number) != (ssize_t)sizeof number) stop("cannot reply");
}

static void into(int descriptor, const char* path, int flags) {
  const int file = open(path, flags, 0644);
  if (file < 0 || dup2(file, descriptor) < 0) stop(path);
  close(file);
}

static int serve(int argc, char** argv, char** environment) {
  const char* where = getenv("YOPO_SERVER");
  int in, out;
  if (!where || sscanf(where, "%d %d", &in, &out) != 2) return command(argc, argv, environment);
  void (*arm)(const char*, const char*, const char*) = dlsym(RTLD_DEFAULT, "yopo_fault_arm");
  static char bytes[MOST_BYTES];
  uint32_t size;
  for (pid_t child = 0; get(in, &size, sizeof size);) {
    if (child > 0) waitpid(child, NULL, 0);
    if (size == 0 || size > sizeof bytes || !get(in, bytes, size) || bytes[size - 1] != 0) stop("a bad request");
    char* texts[MOST_TEXTS + 1];
    int count = 0;
    for (char* at = bytes; at < bytes + size && count < MOST_TEXTS; at += strlen(at) + 1) texts[count++] = at;
    texts[count] = NULL;
    if (count <= BEFORE_ARGUMENTS) stop("a short request");
    child = fork();
    if (child < 0) stop("cannot fork");
    if (child == 0) {
      close(in);
      close(out);
      into(0, "/dev/null", O_RDONLY);
      into(1, texts[0], O_WRONLY | O_CREAT | O_TRUNC);
      into(2, texts[1], O_WRONLY | O_CREAT | O_TRUNC);
      if (arm && texts[2][0]) arm(texts[2], texts[3], texts[4]);
      exit(command(count - BEFORE_ARGUMENTS, texts + BEFORE_ARGUMENTS, environment));
    }
    put(out, child);
    siginfo_t end;
    while (waitid(P_PID, (id_t)child, &end, WEXITED | WNOWAIT) != 0)
      if (errno != EINTR) stop("cannot wait");
    put(out, end.si_code);
    put(out, end.si_status);
  }
  _exit(0);
}

int __libc_start_main(int (*main)(int, char**, char**), int argc, char** argv, void (*init)(void), void (*fini)(void),
                      void (*after)(void), void* stack) {
  int (*next)(int (*)(int, char**, char**), int, char**, void (*)(void), void (*)(void), void (*)(void), void*) =
      dlsym(RTLD_NEXT, "__libc_start_main");
  command = main;
  return next(serve, argc, argv, init, fini, after, stack);
}
