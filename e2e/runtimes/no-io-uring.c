/*
 * Preloaded: a program finds no io_uring. CRIU cannot dump a mapping of one, and libuv has one in every loop.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>

long syscall(long number, ...)
{
	__builtin_va_list arguments;
	long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	long words[6];

	__builtin_va_start(arguments, number);
	for (int i = 0; i < 6; i++)
		words[i] = __builtin_va_arg(arguments, long);
	__builtin_va_end(arguments);
	if (number == SYS_io_uring_setup) {
		errno = ENOSYS;
		return -1;
	}
	return next(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}
