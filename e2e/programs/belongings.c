/*
 * The memory of mosaic.c in a small process tree, with one of everything else that a dump holds: pipes and sockets with
 * data in them, a fifo, deleted files, a file lock, events, timers, signals, limits, a seccomp filter, and, in namespaces of
 * its own, a host name and System V objects.
 *
 * Each process describes itself, from what the kernel says, before the dump and again after the restore. The two texts
 * must be equal. What was written into a pipe or a socket before the dump must come out after the restore.
 */
#define _GNU_SOURCE
#include "memory.h"

#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>

#define ZOMBIE_CODE 7
#define HIGHEST_FD 64
#define LONG_SECONDS 100000
#define EVENT_COUNT 42
#define POSITION 100
#define SEGMENT_BYTES (3 * PAGE)

static const char text[] = "on its way";

/* ---- What the kernel says about this process ---- */

struct description {
	size_t length;
	char text[1 << 17];
};

static struct description before, after;
static bool is_child;

__attribute__((format(printf, 2, 3)))
static void say(struct description *d, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	d->length += (size_t)vsnprintf(d->text + d->length, sizeof d->text - d->length, format, arguments);
	va_end(arguments);
	need(d->length < sizeof d->text, "describing");
}

/* Without stdio, which would take memory from the heap that is described. */
static char *slurp(const char *path, size_t *length)
{
	static char buffer[1 << 16];
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	*length = 0;
	if (fd < 0)
		return NULL;
	while ((got = read(fd, buffer + *length, sizeof buffer - 1 - *length)) > 0)
		*length += (size_t)got;
	close(fd);
	buffer[*length] = '\0';
	return buffer;
}

static bool starts_with_one_of(const char *line, const char *const *prefixes)
{
	for (; *prefixes; prefixes++)
		if (strncmp(line, *prefixes, strlen(*prefixes)) == 0)
			return true;
	return false;
}

/* The lines of a file with one of these prefixes, each up to the part that may change in a restore. */
static void say_lines(struct description *d, const char *path, const char *const *prefixes, const char *until)
{
	size_t length;
	char *rest = slurp(path, &length), *line;

	while (rest && (line = strsep(&rest, "\n"))) {
		if (!starts_with_one_of(line, prefixes))
			continue;
		char *end = until ? strstr(line, until) : NULL;
		if (end)
			*end = '\0';
		say(d, "%s: %s\n", strrchr(path, '/') + 1, line);
	}
}

static void say_bytes(struct description *d, const char *path)
{
	size_t length;
	const char *bytes = slurp(path, &length);
	uint64_t sum = length;

	for (size_t i = 0; bytes && i < length; i++)
		sum = mix(sum ^ (unsigned char)bytes[i]);
	say(d, "%s: %zu bytes, sum %016llx\n", path, length, (unsigned long long)sum);
}

/* Numbers in brackets are inodes, which are new after a restore. */
static void say_link(struct description *d, const char *path)
{
	char target[512];
	const ssize_t length = readlink(path, target, sizeof target - 1);

	target[length < 0 ? 0 : length] = '\0';
	char *bracket = strchr(target, '[');
	if (bracket && (strncmp(target, "pipe:", 5) == 0 || strncmp(target, "socket:", 7) == 0))
		*bracket = '\0';
	say(d, "%s: %s\n", path, target);
}

/* Adjacent areas with the same protection count as one, because the kernel may merge them after a restore. */
static void say_areas(struct description *d)
{
	size_t length;
	char *rest = slurp("/proc/self/maps", &length), *line;
	unsigned long start, end, first = 0, last = 0;
	char allowed[5], allows[5] = "";

	while (rest && (line = strsep(&rest, "\n"))) {
		/* The kernel's own areas differ between kernels. */
		if (sscanf(line, "%lx-%lx %4s", &start, &end, allowed) != 3 || strstr(line, "[v"))
			continue;
		if (start != last || strcmp(allowed, allows) != 0) {
			if (last)
				say(d, "area: %lx-%lx %s\n", first, last, allows);
			first = start;
			memcpy(allows, allowed, sizeof allows);
		}
		last = end;
	}
	say(d, "area: %lx-%lx %s\n", first, last, allows);
}

/* The field numbers are those of proc(5). The name, in brackets, may hold spaces, so counting starts after it. */
static void say_stat(struct description *d)
{
	static const int wanted[] = { 7, 18, 19, 20, 26, 27, 28, 38, 40, 41, 45, 46, 47, 48, 49, 50, 51 };
	size_t length;
	char *rest = slurp("/proc/self/stat", &length);
	int number = 3;

	rest = strrchr(rest, ')') + 2;
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		char *field;
		do
			field = strsep(&rest, " ");
		while (number++ < wanted[i]);
		say(d, "stat field %d: %s\n", wanted[i], field);
	}
}

static void say_descriptors(struct description *d)
{
	static const char *const lines[] = { "pos:", "flags:", "eventfd-count:", "sigmask:", "tfd:", "inotify", NULL };
	static const char *const locks[] = { "lock:", NULL };
	char path[64];

	for (int fd = 0; fd < HIGHEST_FD; fd++) {
		const int flags = fcntl(fd, F_GETFD);
		if (flags < 0)
			continue;
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		say_link(d, path);
		say(d, "descriptor %d: flags %d, owner %d, signal %d\n", fd, flags, fcntl(fd, F_GETOWN), fcntl(fd, F_GETSIG));
		/* The report grows. */
		if (fd == report_fd)
			continue;
		snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
		say_lines(d, path, lines, " ino:");
		/* After the type of a lock comes a pid, which depends on the pid namespace of /proc. */
		say_lines(d, path, locks, " READ ");
	}
}

static void say_threads(struct description *d)
{
	static const char *const lines[] = { "Name:", "SigPnd:", "SigBlk:", "Seccomp:", "Cap", "NoNewPrivs:", NULL };
	char path[300];
	struct dirent *one;
	int number = 0;
	DIR *tasks = opendir("/proc/self/task");

	need(tasks != NULL, "/proc/self/task");
	while ((one = readdir(tasks))) {
		if (one->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%s/status", one->d_name);
		say(d, "thread %d\n", number++);
		say_lines(d, path, lines, NULL);
	}
	closedir(tasks);
}

static void say_signals_and_timers(struct description *d)
{
	struct itimerval timer;
	struct sigaction action;

	for (int signal_number = 1; signal_number < 65; signal_number++)
		if (sigaction(signal_number, NULL, &action) == 0)
			say(d, "signal %d: %p, flags %x, mask %lx\n", signal_number, (void *)action.sa_handler,
			    (unsigned)action.sa_flags, *(unsigned long *)&action.sa_mask);
	for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++) {
		need(getitimer(which, &timer) == 0, "getitimer");
		say(d, "timer %d: %s, every %ld.%06ld\n", which,
		    timer.it_value.tv_sec == 0 ? "off" : timer.it_value.tv_sec <= LONG_SECONDS ? "on" : "far",
		    (long)timer.it_interval.tv_sec, (long)timer.it_interval.tv_usec);
	}
	static const char *const lines[] = { "ID:", "signal:", "ClockID:", NULL };
	say_lines(d, "/proc/self/timers", lines, NULL);
}

static void describe(struct description *d)
{
	static const char *const status[] = {
		"Name:", "Umask:", "Uid:", "Gid:", "Groups:", "Threads:", "ShdPnd:", "SigIgn:", "SigCgt:", "Cap", "THP_enabled:", NULL
	};
	static const char *const limits[] = { "Max", NULL };
	int death_signal = 0, subreaper = 0;
	char name[65] = "";

	d->length = 0;
	/* Not from /proc, which may belong to another pid namespace. The first process gets a new parent. */
	say(d, "pid %d, parent %d, group %d, session %d\n", getpid(), is_child ? getppid() : 0, getpgrp(), getsid(0));
	say_lines(d, "/proc/self/status", status, NULL);
	say_lines(d, "/proc/self/limits", limits, NULL);
	say_stat(d);
	say_areas(d);
	say_bytes(d, "/proc/self/cmdline");
	say_bytes(d, "/proc/self/auxv");
	say_lines(d, "/proc/self/oom_score_adj", (const char *const[]){ "", NULL }, NULL);
	say_link(d, "/proc/self/exe");
	say_link(d, "/proc/self/cwd");
	say_link(d, "/proc/self/root");
	say_descriptors(d);
	say_threads(d);
	say_signals_and_timers(d);
	prctl(PR_GET_PDEATHSIG, &death_signal);
	prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
	say(d, "death signal %d, subreaper %d, dumpable %d, timer slack %d\n", death_signal, subreaper,
	    prctl(PR_GET_DUMPABLE), prctl(PR_GET_TIMERSLACK));
	gethostname(name, sizeof name - 1);
	say(d, "host name %s\n", name);
}

/* Reports lines that have changed; returns 1 if there are any. */
static int verify_description(const char *prefix)
{
	char *old = before.text, *new = after.text;
	int differences = 0;

	describe(&after);
	while (old || new) {
		const char *was = strsep(&old, "\n"), *is = strsep(&new, "\n");
		if (was && is && strcmp(was, is) == 0)
			continue;
		if (differences++ < 3)
			report("%sCORRUPT state: expected %s, found %s\n", prefix, was ? was : "nothing", is ? is : "nothing");
	}
	return differences > 0;
}

/* ---- Setting up what the dump must hold ---- */

static int event_fd, timer_fd, pipe_fds[2], fifo_fd, stream[2], datagram[2], listener, deleted_fd, linked_fd, memory_fd;
static int to_parent[2];
static int message_queue = -1, segment = -1, semaphores = -1;
static char *segment_base;

static void on_signal(int signal_number)
{
	(void)signal_number;
}

static int open_new(const char *name, int flags)
{
	const int fd = open(name, O_RDWR | O_CREAT | flags, 0640);
	need(fd >= 0 && write(fd, text, sizeof text) == sizeof text, name);
	return fd;
}

static void send_descriptor(int socket_fd, int fd)
{
	char control[CMSG_SPACE(sizeof fd)] = { 0 };
	struct iovec data = { (void *)text, sizeof text };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(head), &fd, sizeof fd);
	need(sendmsg(socket_fd, &message, 0) == sizeof text, "sending a descriptor");
}

static void make_files(void)
{
	const int program = open("/proc/self/exe", O_RDONLY);

	need(program >= 0 && lseek(program, POSITION, SEEK_SET) == POSITION, "the program");
	need(flock(program, LOCK_SH) == 0, "flock");

	deleted_fd = open_new("deleted", 0);
	need(unlink("deleted") == 0, "deleting a file");
	linked_fd = open_new("linked", 0);
	need(link("linked", "other-link") == 0 && unlink("linked") == 0, "a file with one link less");

	need(mkfifo("fifo", 0600) == 0, "mkfifo");
	fifo_fd = open("fifo", O_RDWR);
	need(fifo_fd >= 0 && write(fifo_fd, text, sizeof text) == sizeof text, "fifo");

	memory_fd = memfd_create("belongings", MFD_CLOEXEC);
	need(memory_fd >= 0 && write(memory_fd, text, sizeof text) == sizeof text, "memfd");
}

static void make_sockets(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "socket" };

	need(pipe(pipe_fds) == 0 && write(pipe_fds[1], text, sizeof text) == sizeof text, "pipe");
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0, "stream sockets");
	need(write(stream[0], text, sizeof text) == sizeof text, "stream socket");
	need(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram) == 0, "datagram sockets");
	send_descriptor(datagram[0], deleted_fd);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	need(bind(listener, (struct sockaddr *)&name, sizeof name) == 0 && listen(listener, 4) == 0, "listening socket");
}

static void make_events(void)
{
	const struct itimerspec far = { .it_value.tv_sec = LONG_SECONDS };
	struct epoll_event wanted = { .events = EPOLLIN };
	struct sigevent by_signal = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
	sigset_t signals;
	timer_t timer;

	event_fd = eventfd(EVENT_COUNT, EFD_NONBLOCK);
	timer_fd = timerfd_create(CLOCK_MONOTONIC, 0);
	need(event_fd >= 0 && timer_fd >= 0 && timerfd_settime(timer_fd, 0, &far, NULL) == 0, "eventfd and timerfd");
	sigemptyset(&signals);
	sigaddset(&signals, SIGURG);
	need(signalfd(-1, &signals, 0) >= 0, "signalfd");
	need(epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, event_fd, &wanted) == 0, "epoll on an eventfd");
	need(epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, pipe_fds[0], &wanted) == 0, "epoll on a pipe");
	need(inotify_add_watch(inotify_init(), ".", IN_CREATE) > 0, "inotify");
	need(timer_create(CLOCK_MONOTONIC, &by_signal, &timer) == 0 && timer_settime(timer, 0, &far, NULL) == 0, "timer");
}

static void make_signals_and_limits(void)
{
	const struct itimerval timer = { .it_value.tv_sec = LONG_SECONDS, .it_interval.tv_sec = 5 };
	const struct rlimit cores = { 0, 1 << 20 };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct sock_filter allow_all[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	const struct sock_fprog filter = { 1, allow_all };
	sigset_t signals;

	sigaddset(&action.sa_mask, SIGURG);
	need(sigaction(SIGUSR2, &action, NULL) == 0, "sigaction");
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGWINCH);
	sigaddset(&signals, SIGURG);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	need(kill(getpid(), SIGURG) == 0, "a pending signal");
	need(setitimer(ITIMER_REAL, &timer, NULL) == 0, "setitimer");
	need(setrlimit(RLIMIT_CORE, &cores) == 0, "setrlimit");
	umask(027);
	need(setpriority(PRIO_PROCESS, 0, 5) == 0, "setpriority");
	need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "seccomp");
}

struct message {
	long type;
	char bytes[sizeof text];
};

/* CRIU dumps these only together with their namespace. */
static void make_sysv_objects(void)
{
	struct message message = { .type = 3 };

	memcpy(message.bytes, text, sizeof text);
	message_queue = msgget(11, IPC_CREAT | 0600);
	need(message_queue >= 0 && msgsnd(message_queue, &message, sizeof message.bytes, 0) == 0, "message queue");
	segment = shmget(12, SEGMENT_BYTES, IPC_CREAT | 0600);
	segment_base = shmat(segment, NULL, 0);
	need(segment_base != (void *)-1, "shared memory");
	memcpy(segment_base, text, sizeof text);
	semaphores = semget(13, 2, IPC_CREAT | 0600);
	need(semaphores >= 0 && semctl(semaphores, 1, SETVAL, 6) == 0, "semaphores");
	need(sethostname("belongings", 10) == 0, "sethostname");
}

/* ---- Checking it after the restore ---- */

static int comes_out(const char *what, ssize_t got, const char *bytes)
{
	if (got == sizeof text && memcmp(bytes, text, sizeof text) == 0)
		return 0;
	report("CORRUPT %s: its content is lost\n", what);
	return 1;
}

static int verify_read(const char *what, int fd)
{
	char bytes[sizeof text + 1];
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return comes_out(what, read(fd, bytes, sizeof bytes), bytes);
}

static int verify_file(const char *what, int fd)
{
	char bytes[sizeof text + 1];
	return comes_out(what, pread(fd, bytes, sizeof bytes, 0), bytes);
}

static int verify_descriptor_on_its_way(void)
{
	char bytes[sizeof text + 1], control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { bytes, sizeof bytes };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	int fd = -1;

	if (comes_out("datagram socket", recvmsg(datagram[1], &message, MSG_DONTWAIT), bytes))
		return 1;
	if (CMSG_FIRSTHDR(&message))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	return verify_file("descriptor in a socket", fd);
}

static int verify_connection(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "socket" };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (connect(fd, (struct sockaddr *)&name, sizeof name) == 0)
		return 0;
	report("CORRUPT listening socket: %m\n");
	return 1;
}

static int verify_timers(void)
{
	struct itimerspec left;

	if (timerfd_gettime(timer_fd, &left) == 0 && left.it_value.tv_sec > 0 && left.it_value.tv_sec <= LONG_SECONDS)
		return 0;
	report("CORRUPT timerfd: %ld seconds are left\n", (long)left.it_value.tv_sec);
	return 1;
}

static int verify_sysv_objects(void)
{
	struct message message;
	int corrupt = 0;

	if (segment < 0)
		return 0;
	corrupt += comes_out("message queue", msgrcv(message_queue, &message, sizeof message.bytes, 3, IPC_NOWAIT), message.bytes);
	corrupt += comes_out("System V segment", sizeof text, segment_base);
	if (semctl(semaphores, 1, GETVAL) != 6) {
		report("CORRUPT semaphores: wrong value\n");
		corrupt++;
	}
	return corrupt;
}

static int verify_belongings(void)
{
	int corrupt = verify_read("pipe", pipe_fds[0]) + verify_read("fifo", fifo_fd) + verify_read("stream socket", stream[1]);
	corrupt += verify_descriptor_on_its_way() + verify_connection() + verify_timers();
	corrupt += verify_file("deleted file", deleted_fd) + verify_file("file with one link less", linked_fd);
	return corrupt + verify_file("memfd", memory_fd) + verify_sysv_objects();
}

/* ---- The tree ---- */

enum { OWN_GROUP, OWN_SESSION, CHILDREN };

static pid_t children[CHILDREN], zombie;

/* A child says that it is ready, waits for the restore, and checks its state. */
static void be_child(int number, int ready_fd)
{
	char prefix[16];

	snprintf(prefix, sizeof prefix, "child %d: ", number);
	is_child = true;
	close(ready_fd);
	describe(&before);
	describe(&before);
	need(write(to_parent[1], "r", 1) == 1, "telling the parent");
	wait_for_signal();

	const int corrupt = verify_memory(prefix) + verify_description(prefix);
	report("%s%s\n", prefix, corrupt ? "FAILED" : "OK");
	_exit(corrupt ? 1 : 0);
}

static void start_children(void)
{
	char byte;

	need(pipe(to_parent) == 0, "pipe");
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		need(children[i] >= 0, "fork");
		if (children[i] == 0) {
			need(i == OWN_SESSION ? setsid() >= 0 : setpgid(0, 0) == 0, "a group or session");
			be_child(i, to_parent[0]);
		}
	}
	for (int i = 0; i < CHILDREN; i++)
		need(read(to_parent[0], &byte, 1) == 1, "waiting for the children");
	zombie = fork();
	need(zombie >= 0, "fork");
	if (zombie == 0)
		_exit(ZOMBIE_CODE);
	siginfo_t info;
	need(waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT) == 0, "waitid");
}

static int end_children(void)
{
	int corrupt = 0, status;

	for (int i = 0; i < CHILDREN; i++)
		kill(children[i], SIGUSR1);
	for (int i = 0; i < CHILDREN; i++) {
		if (waitpid(children[i], &status, 0) == children[i] && status == 0)
			continue;
		report("CORRUPT child %d: it did not end well\n", i);
		corrupt++;
	}
	if (waitpid(zombie, &status, 0) != zombie || !WIFEXITED(status) || WEXITSTATUS(status) != ZOMBIE_CODE) {
		report("CORRUPT zombie: wrong exit code\n");
		corrupt++;
	}
	return corrupt;
}

/* Usage: belongings REPORT ROOM [namespaces]. ROOM is the folder for its files, and becomes its current directory. */
int main(int argc, char **argv)
{
	PAGE_ALIGNED unsigned char stack[STACK_PAGES * PAGE];

	begin(argc < 3 ? argc : 2, argv);
	need(argc >= 3 && chdir(argv[2]) == 0, "the folder");
	areas[DENSE].pages = 40;
	build_memory(stack);
	make_files();
	make_sockets();
	make_events();
	make_signals_and_limits();
	if (argc > 3)
		make_sysv_objects();
	start_workers();
	start_children();
	/* Twice, because the first call allocates memory. */
	describe(&before);
	describe(&before);

	report("ready %d\n", (int)getpid());
	wait_for_signal();

	/* Before verify_belongings(), which empties what the children share. */
	const int corrupt = verify_memory("") + verify_description("") + end_children();
	return end(corrupt + verify_belongings() + end_workers());
}
