/*
 * The side of CRIU in a lazy restore, without CRIU: connects to the socket of a daemon, gives it tasks that have nothing but
 * registered memory, and lets them do what they are told.
 *
 *     simulator SOCKET
 *
 * It reads a command a line, and answers each with a line of JSON. Tasks answer when they are done, so a task that waits for
 * a page does not answer yet. Addresses are in hex, counts are pages.
 *
 *     connect                    the restore begins
 *     task PID                   starts a task, which is called by this number from then on
 *     zombie PID                 tells the daemon of a task without memory
 *     finish                     tells it that the restore is finished
 *     disconnect
 *     stopped PID                answers when the task has been stopped
 *     PID map ADDRESS N          memory
 *     PID fill ADDRESS N BYTE    writes all bytes of pages
 *     PID send AS                registers the memory with a userfaultfd, and gives it to the daemon under this pid
 *     PID read ADDRESS N         answers with the CRC-32 of each page
 *     PID together ADDRESS N     the same by four threads that read each page at the same time
 *     PID forget ADDRESS N       MADV_DONTNEED
 *     PID unmap ADDRESS N
 *     PID move ADDRESS N TO
 *     PID leave ADDRESS N TO     moves the pages, and the place remains
 *     PID grow ADDRESS N MORE    in place
 *     PID protect ADDRESS N      makes it read-only
 *     PID resident ADDRESS N     answers with the number of pages that are there
 *     PID fork PID               another task, unknown to the daemon
 *     PID exit
 *
 * It ends with 77, and a line on stderr, where the kernel does not permit this.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#ifndef TASKS
#define TASKS 64
#endif
#define AREAS 64
#define THREADS 4
#define MOST_PAGES 256
#define FINISH 0x52535446u
#define NOT_PERMITTED 77

static void need(int condition, const char *what)
{
	if (condition)
		return;
	perror(what);
	exit(1);
}

/* ---- Tasks ---- */

/* Each task reads its commands from a pipe. All of them are made at the start, for tasks that tasks make. */
static struct {
	int pid;
	pid_t process;
	int commands[2];
} tasks[TASKS];

/* All tasks have it until they have sent their memory. */
static int connection;

/* Of this task. */
static int self;
static struct uffdio_range areas[AREAS];
static int area_count;

static uint32_t crc_of(const unsigned char *bytes)
{
	uint32_t crc = ~0u;
	for (size_t i = 0; i < PAGE; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static int open_userfaultfd(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP |
			    UFFD_FEATURE_EVENT_REMOVE,
	};
	const int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0 ? fd : -1;
}

/* The pid, and then the descriptor with one byte. */
static void send_memory(int32_t pid)
{
	const int fd = open_userfaultfd();
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof fd)];
	} control = { .header = { .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct iovec byte = { .iov_base = "", .iov_len = 1 };
	const struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
	};

	need(fd >= 0, "userfaultfd");
	for (int i = 0; i < area_count; i++) {
		struct uffdio_register area = { .range = areas[i], .mode = UFFDIO_REGISTER_MODE_MISSING };
		need(ioctl(fd, UFFDIO_REGISTER, &area) == 0, "UFFDIO_REGISTER");
	}
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	need(write(connection, &pid, sizeof pid) == sizeof pid, "write");
	need(sendmsg(connection, &message, 0) == 1, "sendmsg");
	close(fd);
	close(connection);
}

/* ---- What a task does ---- */

struct reading {
	const unsigned char *memory;
	size_t pages;
	uint32_t crcs[MOST_PAGES];
};

static pthread_barrier_t start;

static void *read_with_others(void *argument)
{
	struct reading *reading = argument;
	for (size_t i = 0; i < reading->pages; i++) {
		pthread_barrier_wait(&start);
		reading->crcs[i] = crc_of(reading->memory + i * PAGE);
	}
	return NULL;
}

/* Returns whether all threads have read the same. */
static int read_together(struct reading *reading, int count)
{
	static struct reading others[THREADS];
	pthread_t threads[THREADS];
	int same = 1;

	need(pthread_barrier_init(&start, NULL, (unsigned)count) == 0, "barrier");
	for (int i = 0; i < count; i++) {
		others[i] = *reading;
		need(pthread_create(&threads[i], NULL, read_with_others, &others[i]) == 0, "pthread_create");
	}
	for (int i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		same &= memcmp(others[0].crcs, others[i].crcs, sizeof others[i].crcs) == 0;
	}
	*reading = others[0];
	return same;
}

static void answer(const char *what)
{
	dprintf(1, "{\"task\":%d,\"%s\":true}\n", tasks[self].pid, what);
}

static void answer_reading(const unsigned char *memory, size_t pages, int threads)
{
	static struct reading reading;
	static char line[MOST_PAGES * 12 + 64];
	int same = 1;

	need(pages <= MOST_PAGES, "so many pages");
	reading.memory = memory;
	reading.pages = pages;
	if (threads > 1)
		same = read_together(&reading, threads);
	else
		for (size_t i = 0; i < pages; i++)
			reading.crcs[i] = crc_of(memory + i * PAGE);
	int end = sprintf(line, "{\"task\":%d,\"same\":%s,\"pages\":[", tasks[self].pid, same ? "true" : "false");
	for (size_t i = 0; i < pages; i++)
		end += sprintf(line + end, "%s%u", i > 0 ? "," : "", reading.crcs[i]);
	end += sprintf(line + end, "]}\n");
	need(write(1, line, (size_t)end) == end, "write");
}

static void answer_resident(void *memory, size_t pages)
{
	static unsigned char resident[1 << 20];
	size_t count = 0;

	need(pages <= sizeof resident && mincore(memory, pages * PAGE, resident) == 0, "mincore");
	for (size_t i = 0; i < pages; i++)
		count += resident[i] & 1;
	dprintf(1, "{\"task\":%d,\"resident\":%zu}\n", tasks[self].pid, count);
}

static void run_task(int slot);

static void fork_task(int slot)
{
	const pid_t process = fork();
	need(process >= 0, "fork");
	if (process == 0)
		run_task(slot);
}

static void obey(const char *verb, unsigned long address, size_t pages, unsigned long last)
{
	unsigned char *memory = (unsigned char *)address;
	const size_t bytes = pages * PAGE;

	if (strcmp(verb, "map") == 0) {
		need(mmap(memory, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
			  -1, 0) == memory && area_count < AREAS, "mmap");
		/* A huge page would be there as a whole. */
		madvise(memory, bytes, MADV_NOHUGEPAGE);
		areas[area_count++] = (struct uffdio_range){ address, bytes };
	} else if (strcmp(verb, "fill") == 0) {
		memset(memory, (int)last, bytes);
	} else if (strcmp(verb, "read") == 0) {
		return answer_reading(memory, pages, 1);
	} else if (strcmp(verb, "together") == 0) {
		return answer_reading(memory, pages, THREADS);
	} else if (strcmp(verb, "forget") == 0) {
		need(madvise(memory, bytes, MADV_DONTNEED) == 0, "madvise");
	} else if (strcmp(verb, "unmap") == 0) {
		need(munmap(memory, bytes) == 0, "munmap");
	} else if (strcmp(verb, "move") == 0) {
		need(mremap(memory, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)last) != MAP_FAILED, "mremap");
	} else if (strcmp(verb, "leave") == 0) {
		need(mremap(memory, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, (void *)last) !=
			     MAP_FAILED, "mremap");
	} else if (strcmp(verb, "grow") == 0) {
		need(mremap(memory, bytes, bytes + last * PAGE, 0) != MAP_FAILED, "mremap");
	} else if (strcmp(verb, "protect") == 0) {
		need(mprotect(memory, bytes, PROT_READ) == 0, "mprotect");
	} else if (strcmp(verb, "resident") == 0) {
		return answer_resident(memory, pages);
	} else {
		fprintf(stderr, "unknown command: %s\n", verb);
		exit(1);
	}
	answer(verb);
}

__attribute__((noreturn))
static void run_task(int slot)
{
	char line[128], verb[16];

	self = slot;
	FILE *commands = fdopen(tasks[slot].commands[0], "r");
	/* The commands end with the process that writes them. */
	for (int i = 0; i < TASKS; i++)
		close(tasks[i].commands[1]);
	dprintf(1, "{\"task\":%d,\"started\":true,\"process\":%d}\n", tasks[slot].pid, (int)getpid());
	while (fgets(line, sizeof line, commands)) {
		unsigned long address = 0, last = 0;
		size_t pages = 0;
		need(sscanf(line, "%15s %lx %zu %lx", verb, &address, &pages, &last) >= 1, "a command");
		if (strcmp(verb, "exit") == 0)
			break;
		if (strcmp(verb, "fork") == 0) {
			int child, pid;
			need(sscanf(line, "fork %d %d", &child, &pid) == 2, "fork");
			tasks[child].pid = pid;
			fork_task(child);
		} else if (strcmp(verb, "send") == 0) {
			send_memory(atoi(line + strlen("send ")));
			answer(verb);
		} else {
			obey(verb, address, pages, last);
		}
	}
	answer("exit");
	_exit(0);
}

/* ---- The restore ---- */

static int find_task(int pid)
{
	for (int i = 0; i < TASKS; i++)
		if (tasks[i].pid == pid)
			return i;
	fprintf(stderr, "no task %d\n", pid);
	exit(1);
}

static int new_task(int pid)
{
	const int slot = find_task(0);
	tasks[slot].pid = pid;
	return slot;
}

static void connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	need(strlen(path) < sizeof address.sun_path, "path of the socket");
	strcpy(address.sun_path, path);
	need(connect(connection, (struct sockaddr *)&address, sizeof address) == 0, "connect");
}

static void start_task(int pid)
{
	const int slot = new_task(pid);
	tasks[slot].process = fork();
	need(tasks[slot].process >= 0, "fork");
	if (tasks[slot].process == 0)
		run_task(slot);
}

static void send_word(uint32_t word)
{
	need(write(connection, &word, sizeof word) == sizeof word, "write");
}

int main(int argc, char **argv)
{
	char line[128], verb[16];
	int pid, child, status;

	need(argc == 2, "usage: simulator SOCKET");
	const int fd = open_userfaultfd();
	if (fd < 0) {
		perror("userfaultfd with its events");
		return NOT_PERMITTED;
	}
	close(fd);
	for (int i = 0; i < TASKS; i++)
		need(pipe(tasks[i].commands) == 0, "pipe");
	/* Tasks that were started before the restore begins have it, too. */
	connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	need(connection >= 0, "socket");
	/* Tasks take over no input that was read ahead. */
	setvbuf(stdin, NULL, _IONBF, 0);
	dprintf(1, "{\"ready\":true}\n");

	while (fgets(line, sizeof line, stdin)) {
		if (strcmp(line, "connect\n") == 0) {
			connect_to(argv[1]);
		} else if (strcmp(line, "finish\n") == 0) {
			send_word(FINISH);
		} else if (strcmp(line, "disconnect\n") == 0) {
			close(connection);
		} else if (sscanf(line, "task %d", &pid) == 1) {
			start_task(pid);
			continue;
		} else if (sscanf(line, "zombie %d", &pid) == 1) {
			send_word((uint32_t)-pid);
		} else if (sscanf(line, "stopped %d", &pid) == 1) {
			need(waitpid(tasks[find_task(pid)].process, &status, WUNTRACED) > 0 && WIFSTOPPED(status), "a stop");
		} else if (sscanf(line, "%d fork %d", &pid, &child) == 2) {
			const int slot = find_task(pid);
			dprintf(tasks[slot].commands[1], "fork %d %d\n", new_task(child), child);
			continue;
		} else if (sscanf(line, "%d %15s", &pid, verb) == 2) {
			dprintf(tasks[find_task(pid)].commands[1], "%s", strchr(line, ' ') + 1);
			continue;
		}
		line[strcspn(line, "\n")] = '\0';
		dprintf(1, "{\"done\":\"%s\"}\n", line);
	}
	return 0;
}
