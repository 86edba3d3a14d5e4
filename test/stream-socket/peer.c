/*
 * CRIU's side of a streamed dump or restore. Takes commands from stdin, one a line, and answers each with a line: "ok", maybe
 * with a number, or "error" with the reason.
 *
 *   connect PATH            to the socket of the streamer
 *   send HEX                these bytes
 *   open NAME               dump: a request, and the byte with the read end of a new pipe
 *   open-socket NAME        the same, with a socket in place of a pipe
 *   write NAME PATH [FROM BYTES]    bytes of a file into the pipe
 *   ask NAME                restore: a request; answers ok 1 if the file exists, and then sends the write end of a pipe
 *   read NAME PATH [BYTES]  from its pipe into a file, to the end or so many bytes; answers with the number of bytes
 *   close NAME              the pipe
 *   wait                    until there is an answer, which is not read
 *   disconnect              closes the connection
 *   trace PID               freezes a process, which goes on when this one ends
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_FILES 2048
#define MAX_LINE 16384

static struct { char name[256]; int fd; } files[MAX_FILES];
static int sock = -1;
static char buffer[1 << 20];

static int fail(const char *what) {
  printf("error %s: %s\n", what, strerrorname_np(errno));
  return -1;
}

static int slot_of(const char *name) {
  for (int i = 0; i < MAX_FILES; i++) if (files[i].fd > 0 && !strcmp(files[i].name, name)) return i;
  errno = ENOENT;
  return -1;
}

static void keep(const char *name, int fd) {
  for (int i = 0; i < MAX_FILES; i++) {
    if (files[i].fd > 0) continue;
    snprintf(files[i].name, sizeof(files[i].name), "%s", name);
    files[i].fd = fd;
    return;
  }
  abort();
}

static int send_all(const void *bytes, size_t count) {
  return send(sock, bytes, count, MSG_NOSIGNAL) == (ssize_t)count ? 0 : fail("send");
}

static int request(const char *name) {
  unsigned char message[4 + 2 + 256];
  uint32_t length = strlen(name), size = 2 + length;
  memcpy(message, &size, 4);
  message[4] = 0x0a;
  message[5] = length;
  memcpy(message + 6, name, length);
  return send_all(message, 4 + size);
}

static int send_descriptor(int fd) {
  char zero = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
  struct iovec part = { &zero, 1 };
  struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_len = CMSG_LEN(sizeof(int));
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  memcpy(CMSG_DATA(header), &fd, sizeof(int));
  return sendmsg(sock, &message, MSG_NOSIGNAL) == 1 ? 0 : fail("sendmsg");
}

/* Sends one end of a new pipe, and keeps the other. */
static int pipe_for(const char *name, int sent) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return fail("pipe");
  keep(name, ends[1 - sent]);
  int done = send_descriptor(ends[sent]);
  close(ends[sent]);
  return done;
}

static int connect_to(const char *path) {
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
  sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0 ? fail("connect") : 0;
}

static int send_hex(const char *hex) {
  size_t count = strlen(hex) / 2;
  for (size_t i = 0; i < count; i++) {
    unsigned byte;
    sscanf(hex + 2 * i, "%2x", &byte);
    buffer[i] = byte;
  }
  return send_all(buffer, count);
}

static int copy(int from, int to, long bytes, long *total) {
  for (*total = 0; bytes < 0 || *total < bytes;) {
    size_t want = sizeof(buffer);
    if (bytes >= 0 && (size_t)(bytes - *total) < want) want = bytes - *total;
    ssize_t count = read(from, buffer, want);
    if (count < 0) return fail("read");
    if (count == 0) return 0;
    for (ssize_t at = 0; at < count;) {
      ssize_t written = write(to, buffer + at, count - at);
      if (written < 0) return fail("write");
      at += written;
    }
    *total += count;
  }
  return 0;
}

static int write_file(const char *name, const char *path, long from, long bytes) {
  int slot = slot_of(name), fd = open(path, O_RDONLY | O_CLOEXEC);
  long total;
  if (slot < 0 || fd < 0) return fail("open");
  lseek(fd, from, SEEK_SET);
  int done = copy(fd, files[slot].fd, bytes, &total);
  close(fd);
  return done;
}

static int ask(const char *name) {
  unsigned char reply[6];
  if (request(name) < 0) return -1;
  for (int at = 0; at < 6;) {
    ssize_t count = recv(sock, reply + at, 6 - at, 0);
    if (count <= 0) return fail("recv");
    at += count;
  }
  if (memcmp(reply, "\2\0\0\0\10", 5) || reply[5] > 1) return fail("an unknown reply");
  if (reply[5] && pipe_for(name, 1) < 0) return -1;
  printf("ok %d\n", reply[5]);
  return 1;
}

static int read_file(const char *name, const char *path, long bytes) {
  int slot = slot_of(name), fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  long total;
  if (slot < 0 || fd < 0) return fail("open");
  int done = copy(files[slot].fd, fd, bytes, &total);
  close(fd);
  if (done < 0) return -1;
  printf("ok %ld\n", total);
  return 1;
}

static int close_file(const char *name) {
  int slot = slot_of(name);
  if (slot < 0) return fail("close");
  close(files[slot].fd);
  files[slot].fd = 0;
  return 0;
}

static int open_socket(const char *name) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return fail("socketpair");
  return request(name) < 0 ? -1 : send_descriptor(ends[0]);
}

static int trace(int pid) {
  if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0 || ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0) return fail("ptrace");
  return waitpid(pid, NULL, __WALL) == pid ? 0 : fail("waitpid");
}

/* 0: answer ok, otherwise it has answered. */
static int command(char *line) {
  char verb[32] = "", name[MAX_LINE] = "", path[4096] = "";
  long a = 0, b = -1;
  int words = sscanf(line, "%31s %16383s %4095s %ld %ld", verb, name, path, &a, &b);
  if (!strcmp(verb, "connect")) return connect_to(name);
  if (!strcmp(verb, "send")) return send_hex(name);
  if (!strcmp(verb, "open")) return request(name) < 0 ? -1 : pipe_for(name, 0);
  if (!strcmp(verb, "open-socket")) return open_socket(name);
  if (!strcmp(verb, "write")) return write_file(name, path, a, b);
  if (!strcmp(verb, "ask")) return ask(name);
  if (!strcmp(verb, "read")) return read_file(name, path, words > 3 ? a : -1);
  if (!strcmp(verb, "close")) return close_file(name);
  if (!strcmp(verb, "wait")) return poll(&(struct pollfd){ sock, POLLIN, 0 }, 1, -1) == 1 ? 0 : fail("poll");
  if (!strcmp(verb, "trace")) return trace(atoi(name));
  if (!strcmp(verb, "disconnect")) return close(sock);
  errno = EINVAL;
  return fail("unknown command");
}

int main(void) {
  static char line[MAX_LINE + 64];
  signal(SIGPIPE, SIG_IGN);
  setvbuf(stdout, NULL, _IOLBF, 0);
  while (fgets(line, sizeof(line), stdin)) if (command(line) == 0) puts("ok");
  return 0;
}
