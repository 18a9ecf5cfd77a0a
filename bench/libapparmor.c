/* libapparmor's record parser against the clock, and what it reads: the counterpart of `aa-monitor-bench tell`
 * and `aa-monitor-bench time`, with the same output. Built by `cargo xtask bench parse` together with the
 * sources of Debian's package. */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <time.h>

#include <aalogparse.h>

#define WARM_UP 10000

/* The parser turns the numbers of protocols into names, and says nothing else. */
static const struct {
	unsigned int number;
	const char *name;
} protocols[] = {
#define AA_GEN_PROTO_ENT(number, name) {number, name},
#include "af_protos.h"
#undef AA_GEN_PROTO_ENT
};

static const char *verdict(aa_record_event_type event)
{
	switch (event) {
	case AA_RECORD_DENIED: return "denied";
	case AA_RECORD_ALLOWED: return "allowed";
	case AA_RECORD_AUDIT: return "audit";
	case AA_RECORD_HINT: return "hint";
	case AA_RECORD_STATUS: return "status";
	case AA_RECORD_ERROR: return "error";
	default: return "invalid";
	}
}

static void text(const char *key, const char *value)
{
	if (!value)
		return;
	printf("\t%s=", key);
	for (const unsigned char *at = (const unsigned char *)value; *at; at++) {
		if (*at > ' ' && *at <= '~' && *at != '\\')
			putchar(*at);
		else
			printf("\\x%02x", *at);
	}
}

static void number(const char *key, long value, long absent)
{
	if (value != absent)
		printf("\t%s=%ld", key, value);
}

static void protocol(const char *name)
{
	if (!name)
		return;
	for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
		if (!strcmp(protocols[i].name, name)) {
			printf("\tprotocol=%u", protocols[i].number);
			return;
		}
	}
	text("protocol", name);
}

static void tell(const char *line)
{
	aa_log_record *r = parse_record(line);

	printf("verdict=%s", verdict(r->event));
	if (r->event != AA_RECORD_INVALID) {
		text("audit_id", r->audit_id);
		text("operation", r->operation);
		text("profile", r->profile);
		text("namespace", r->aa_namespace);
		text("name", r->name);
		text("target", r->name2);
		text("peer", r->peer ? r->peer : r->peer_profile);
		text("comm", r->comm);
		number("pid", r->pid, 0);
		text("info", r->info);
		number("error", r->error_code, 0);
		text("requested", r->requested_mask);
		text("denied", r->denied_mask);
		number("fsuid", r->fsuid, -1);
		number("ouid", r->ouid, -1);
		text("family", r->net_family);
		text("sock_type", r->net_sock_type);
		protocol(r->net_protocol);
		text("laddr", r->net_local_addr);
		number("lport", r->net_local_port, 0);
		text("faddr", r->net_foreign_addr);
		number("fport", r->net_foreign_port, 0);
		text("addr", r->net_addr);
		text("peer_addr", r->peer_addr);
		text("signal", r->signal);
		text("fstype", r->fs_type);
		text("srcname", r->src_name);
		text("flags", r->flags);
		text("bus", r->dbus_bus);
		text("path", r->dbus_path);
		text("interface", r->dbus_interface);
		text("member", r->dbus_member);
		text("execpath", r->execpath);
	}
	putchar('\n');
	free_record(r);
}

static size_t read_all(char **lines, size_t count)
{
	size_t understood = 0;

	for (size_t i = 0; i < count; i++) {
		aa_log_record *r = parse_record(lines[i]);

		understood += r->event != AA_RECORD_INVALID;
		free_record(r);
	}
	return understood;
}

static long long now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* The lines of a file, each ended by NUL, which is what the parser takes. */
static char **load(const char *path, size_t *count)
{
	FILE *file = fopen(path, "rb");
	char **lines = NULL;
	size_t room = 0;
	long size;

	if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0)
		return NULL;
	rewind(file);
	char *buffer = malloc(size + 1);
	if (!buffer || fread(buffer, 1, size, file) != (size_t)size)
		return NULL;
	buffer[size] = '\0';
	fclose(file);
	*count = 0;
	for (char *line = strtok(buffer, "\n"); line; line = strtok(NULL, "\n")) {
		if (*count == room) {
			room = room ? room * 2 : 1024;
			lines = realloc(lines, room * sizeof *lines);
			if (!lines)
				return NULL;
		}
		lines[(*count)++] = line;
	}
	return lines;
}

int main(int argc, char **argv)
{
	size_t count = 0;
	char **lines = argc == 3 ? load(argv[2], &count) : NULL;

	if (!lines) {
		fprintf(stderr, "usage: libapparmor-bench tell FILE | time FILE\n");
		return 64;
	}
	if (!strcmp(argv[1], "tell")) {
		for (size_t i = 0; i < count; i++)
			tell(lines[i]);
		return 0;
	}
	read_all(lines, count < WARM_UP ? count : WARM_UP);
	long long start = now();
	size_t understood = read_all(lines, count);
	printf("{\"records\":%zu,\"understood\":%zu,\"nanos\":%lld}\n", count, understood, now() - start);
	return 0;
}
