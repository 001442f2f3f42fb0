/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"

static _Noreturn void be_child(const char *name, int in, int out, int (*run)(void *user), void *user)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
        die("dup2: %s", strerror(errno));
    close(in);
    close(out);
    name_part(name);
    int code = run(user);
    fflush(stdout);
    _exit(code); /* what this process made, its parent takes away */
}

void child_start(struct child *c, const char *name, int (*run)(void *user), void *user)
{
    int to[2], from[2];

    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        die("pipe: %s", strerror(errno));
    fflush(stdout);
    c->name = name;
    c->pid = fork();
    if (c->pid < 0)
        die("fork: %s", strerror(errno));
    if (c->pid == 0) {
        close(to[1]);
        close(from[0]);
        be_child(name, to[0], from[1], run, user);
    }
    close(to[0]);
    close(from[1]);
    c->to = fdopen(to[1], "w");
    c->from = fdopen(from[0], "r");
    if (!c->to || !c->from)
        die("fdopen: %s", strerror(errno));
}

/* Who ended with EXIT_BAD has said why, with its name: nothing is to hide that line. */
static _Noreturn void ended_early(struct child *c)
{
    int status = 0;
    fclose(c->to);
    if (waitpid(c->pid, &status, 0) != c->pid)
        die("'%s' says nothing that can be read", c->name);
    if (WIFSIGNALED(status))
        die("'%s' was ended by signal %d", c->name, WTERMSIG(status));
    if (WEXITSTATUS(status) != EXIT_BAD)
        die("'%s' ended early, with %d", c->name, WEXITSTATUS(status));
    exit(EXIT_BAD);
}

json_t *child_read(struct child *c)
{
    json_error_t error;
    json_t      *line = json_loadf(c->from, JSON_DISABLE_EOF_CHECK, &error);
    if (!line)
        ended_early(c);
    return line;
}

json_t *child_turn(struct child *c)
{
    if (fputc('\n', c->to) == EOF || fflush(c->to) != 0)
        ended_early(c);
    return child_read(c);
}

void child_end(struct child *c)
{
    int status = 0;
    fclose(c->to);
    fclose(c->from);
    if (waitpid(c->pid, &status, 0) != c->pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die("'%s' did not end well", c->name);
}
