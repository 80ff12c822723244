// Preloaded into a command beside server.c, which says what is to fail: the n-th call of one kind on files under one folder.
//   YOPO_FAULT_UNDER   the folder, absolute
//   YOPO_FAULT_COUNT   a file that gets the numbers of all calls at the end, a line each: `open 12`
// A call that fails does nothing, as on a disk that is gone; close closes all the same, as Linux does.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_DESCRIPTORS 4096

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char watched[MOST_DESCRIPTORS];  // descriptors of files under the folder
static const char *under, *wanted, *kind, *count;
static const char* const calls[] = {"open",   "read",  "pread", "write", "fsync",    "rename", "mmap", "unlink",
                                    "close", "mkdir", "truncate", "fallocate", "stat", "list", "flock"};
enum { CALLS = sizeof calls / sizeof calls[0] };
static long at, seen[CALLS];

/// `call`: one of `calls`. `which`: of these calls, from 1 on; 0: none. `how`: EIO, ENOSPC, EINTR, EMFILE or short (read, pread and
/// write move half of the bytes).
void yopo_fault_arm(const char* call, const char* which, const char* how) {
  under = getenv("YOPO_FAULT_UNDER");
  count = getenv("YOPO_FAULT_COUNT");
  wanted = call;
  at = atol(which);
  kind = how;
}

static void* real(const char* name) { return dlsym(RTLD_NEXT, name); }

/// Drops what LibTorch wants to do at the end of the process: a tenth of a second, most of a small command, on no file of ours.
int __cxa_atexit(void (*function)(void*), void* argument, void* library) {
  static void* last;
  static int of_torch;
  if (library && library != last) {
    Dl_info info;
    of_torch = dladdr(library, &info) != 0 && info.dli_fname && strstr(info.dli_fname, "/libtorch");
    last = library;
  }
  if (library && of_torch) return 0;
  int (*next)(void (*)(void*), void*, void*) = real("__cxa_atexit");
  return next(function, argument, library);
}

static int is_under(int folder, const char* path) {
  if (!under || !path) return 0;
  char whole[2 * PATH_MAX];
  if (path[0] == '/') {
    snprintf(whole, sizeof whole, "%s", path);
  } else {
    char base[PATH_MAX] = "", link[64];
    if (folder == AT_FDCWD) {
      if (!getcwd(base, sizeof base)) return 0;
    } else {
      snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
      const ssize_t size = readlink(link, base, sizeof base - 1);
      if (size < 0) return 0;
      base[size] = 0;
    }
    snprintf(whole, sizeof whole, "%s/%s", base, path);
  }
  const size_t length = strlen(under);
  return strncmp(whole, under, length) == 0 && (whole[length] == '/' || whole[length] == 0);
}

static int is_watched(int descriptor) {
  return descriptor >= 0 && descriptor < MOST_DESCRIPTORS && __atomic_load_n(&watched[descriptor], __ATOMIC_SEQ_CST);
}

static void watch(int descriptor, int on) {
  if (descriptor >= 0 && descriptor < MOST_DESCRIPTORS) __atomic_store_n(&watched[descriptor], on, __ATOMIC_SEQ_CST);
}

/// Counts a call of this kind, on a file under the folder; whether it is the one that fails.
static int fails(const char* call) {
  int which = 0;
  while (strcmp(calls[which], call) != 0) ++which;
  pthread_mutex_lock(&mutex);
  const int now = ++seen[which] == at && strcmp(call, wanted) == 0;
  pthread_mutex_unlock(&mutex);
  return now;
}

static int is_short(void) { return kind && strcmp(kind, "short") == 0; }

static int refuse(void) {
  errno = !kind                          ? EIO
          : strcmp(kind, "ENOSPC") == 0 ? ENOSPC
          : strcmp(kind, "EINTR") == 0  ? EINTR
          : strcmp(kind, "EMFILE") == 0 ? EMFILE
                                        : EIO;
  return -1;
}

static int open_any(const char* name, int folder, const char* path, int flags, mode_t mode) {
  const int mine = is_under(folder, path);
  if (mine && fails("open")) return refuse();
  int (*next)(int, const char*, int, ...) = real(name);
  const int descriptor = next(folder, path, flags, mode);
  watch(descriptor, mine && descriptor >= 0);
  return descriptor;
}

#define MODE_OF(flags)                                   \
  mode_t mode = 0;                                       \
  if ((flags) & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
    va_list list;                                        \
    va_start(list, flags);                               \
    mode = va_arg(list, mode_t);                         \
    va_end(list);                                        \
  }

int open(const char* path, int flags, ...) {
  MODE_OF(flags)
  return open_any("openat", AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  MODE_OF(flags)
  return open_any("openat64", AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  MODE_OF(flags)
  return open_any("openat", folder, path, flags, mode);
}
int openat64(int folder, const char* path, int flags, ...) {
  MODE_OF(flags)
  return open_any("openat64", folder, path, flags, mode);
}

#define MOVES(returns, name, call, parameters, arguments, shorter)                     \
  returns name parameters {                                                            \
    returns(*next) parameters = real(#name);                                           \
    if (is_watched(descriptor) && fails(call)) {                                       \
      if (!is_short()) return refuse();                                                \
      return next shorter;                                                             \
    }                                                                                  \
    return next arguments;                                                             \
  }

#define HALF (size > 1 ? size / 2 : size)
MOVES(ssize_t, read, "read", (int descriptor, void* to, size_t size), (descriptor, to, size), (descriptor, to, HALF))
MOVES(ssize_t, write, "write", (int descriptor, const void* from, size_t size), (descriptor, from, size),
      (descriptor, from, HALF))
MOVES(ssize_t, pread, "pread", (int descriptor, void* to, size_t size, off_t offset), (descriptor, to, size, offset),
      (descriptor, to, HALF, offset))
MOVES(ssize_t, pread64, "pread", (int descriptor, void* to, size_t size, off64_t offset),
      (descriptor, to, size, offset), (descriptor, to, HALF, offset))
MOVES(int, flock, "flock", (int descriptor, int operation), (descriptor, operation), (descriptor, operation))
MOVES(int, fstat, "stat", (int descriptor, struct stat* to), (descriptor, to), (descriptor, to))
MOVES(int, fstat64, "stat", (int descriptor, struct stat64* to), (descriptor, to), (descriptor, to))
MOVES(int, fsync, "fsync", (int descriptor), (descriptor), (descriptor))
MOVES(int, ftruncate, "truncate", (int descriptor, off_t size), (descriptor, size), (descriptor, size))
MOVES(int, ftruncate64, "truncate", (int descriptor, off64_t size), (descriptor, size), (descriptor, size))
MOVES(int, fallocate, "fallocate", (int descriptor, int mode, off_t offset, off_t size),
      (descriptor, mode, offset, size), (descriptor, mode, offset, size))
MOVES(int, fallocate64, "fallocate", (int descriptor, int mode, off64_t offset, off64_t size),
      (descriptor, mode, offset, size), (descriptor, mode, offset, size))

void* mmap(void* where, size_t size, int protection, int flags, int descriptor, off_t offset) {
  void* (*next)(void*, size_t, int, int, int, off_t) = real("mmap");
  if (is_watched(descriptor) && fails("mmap")) {
    refuse();
    return MAP_FAILED;
  }
  return next(where, size, protection, flags, descriptor, offset);
}
void* mmap64(void* where, size_t size, int protection, int flags, int descriptor, off64_t offset) {
  return mmap(where, size, protection, flags, descriptor, offset);
}

int close(int descriptor) {
  int (*next)(int) = real("close");
  const int mine = is_watched(descriptor);
  watch(descriptor, 0);
  const int result = next(descriptor);
  return mine && fails("close") && !is_short() ? refuse() : result;
}

#define LOOKS(name, type)                                                         \
  int name(const char* path, struct type* to) {                                   \
    int (*next)(const char*, struct type*) = real(#name);                         \
    return is_under(AT_FDCWD, path) && fails("stat") ? refuse() : next(path, to); \
  }
LOOKS(stat, stat)
LOOKS(stat64, stat64)
LOOKS(lstat, stat)
LOOKS(lstat64, stat64)

int fstatat(int folder, const char* path, struct stat* to, int flags) {
  int (*next)(int, const char*, struct stat*, int) = real("fstatat");
  return is_under(folder, path) && fails("stat") ? refuse() : next(folder, path, to, flags);
}
int fstatat64(int folder, const char* path, struct stat64* to, int flags) {
  int (*next)(int, const char*, struct stat64*, int) = real("fstatat64");
  return is_under(folder, path) && fails("stat") ? refuse() : next(folder, path, to, flags);
}

DIR* opendir(const char* path) {
  DIR* (*next)(const char*) = real("opendir");
  if (!is_under(AT_FDCWD, path) || !fails("list")) return next(path);
  refuse();
  return NULL;
}

static int lists(DIR* folder) { return is_under(dirfd(folder), ".") && fails("list"); }

struct dirent* readdir(DIR* folder) {
  struct dirent* (*next)(DIR*) = real("readdir");
  if (!lists(folder)) return next(folder);
  refuse();
  return NULL;
}
struct dirent64* readdir64(DIR* folder) {
  struct dirent64* (*next)(DIR*) = real("readdir64");
  if (!lists(folder)) return next(folder);
  refuse();
  return NULL;
}

int rename(const char* from, const char* to) {
  int (*next)(const char*, const char*) = real("rename");
  if (is_under(AT_FDCWD, to) && fails("rename")) return refuse();
  return next(from, to);
}

int unlink(const char* path) {
  int (*next)(const char*) = real("unlink");
  if (is_under(AT_FDCWD, path) && fails("unlink")) return refuse();
  return next(path);
}

int remove(const char* path) {
  int (*next)(const char*) = real("remove");
  if (is_under(AT_FDCWD, path) && fails("unlink")) return refuse();
  return next(path);
}

int unlinkat(int folder, const char* path, int flags) {
  int (*next)(int, const char*, int) = real("unlinkat");
  if (is_under(folder, path) && fails("unlink")) return refuse();
  return next(folder, path, flags);
}

int mkdir(const char* path, mode_t mode) {
  int (*next)(const char*, mode_t) = real("mkdir");
  if (is_under(AT_FDCWD, path) && fails("mkdir")) return refuse();
  return next(path, mode);
}

__attribute__((destructor)) static void tell(void) {
  if (!count) return;
  int (*next)(int, const char*, int, ...) = real("openat");
  const int descriptor = next(AT_FDCWD, count, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (descriptor < 0) return;
  ssize_t (*put)(int, const void*, size_t) = real("write");
  for (int which = 0; which < CALLS; ++which) {
    char text[64];
    const int size = snprintf(text, sizeof text, "%s %ld\n", calls[which], seen[which]);
    (void)!put(descriptor, text, (size_t)size);
  }
  int (*shut)(int) = real("close");
  shut(descriptor);
}

/// As commands end. The destructor above does not run then.
void _exit(int code) {
  tell();
  void (*next)(int) = real("_exit");
  next(code);
  __builtin_unreachable();
}
