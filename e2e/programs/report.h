/*
 * The course of a test: a program fills its memory, reports that it is ready to be dumped, waits for SIGUSR1, and then
 * compares its memory with what it must be.
 *
 * The report file has one line a fact: "ready PID", then "CORRUPT <area>: ..." for each area that has changed, at the
 * end "OK" or "FAILED".
 */
#ifndef REPORT_H
#define REPORT_H

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGE 4096

/* ---- Reports ---- */

static int report_fd;

__attribute__((format(printf, 1, 2)))
static void report(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vdprintf(report_fd, format, arguments);
	va_end(arguments);
}

static void need(bool condition, const char *what)
{
	if (condition)
		return;
	report("can't set up: %s: %m\n", what);
	exit(1);
}

/* The step of splitmix64. The state is a counter, so a sequence can start anywhere. */
static inline uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* ---- The course of a test ---- */

/* SIGUSR1 is blocked in all threads from the start, so it can't come too early, only be found waiting. */
static void begin(int argc, char **argv)
{
	sigset_t signals;

	if (argc != 2) {
		fprintf(stderr, "usage: %s REPORT\n", argv[0]);
		exit(2);
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	report_fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (report_fd < 0) {
		perror(argv[1]);
		exit(1);
	}
}

static void wait_for_signal(void)
{
	sigset_t signals;
	int signal_number;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	while (sigwait(&signals, &signal_number) != 0)
		;
}

static int end(int corrupt)
{
	report(corrupt ? "FAILED\n" : "OK\n");
	return corrupt ? 1 : 0;
}

#endif
