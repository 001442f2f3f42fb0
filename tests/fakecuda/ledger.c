/* SPDX-License-Identifier: Apache-2.0 */
/* What all processes hold of each device (ledger.h). Also in the fake NVML, which looks without holding anything. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../bench/gpu_probe_cuda.h"
#include "ledger.h"

/* Everybody may: a device is shared by users, and a test becomes nobody. */
enum { ANYBODY = 0666 };

static char     folder[FC_FOLDER_MAX];
static bool     own;
static unsigned made;

uint64_t fc_bytes_of(const char *text, uint64_t otherwise)
{
    char *end;
    if (!text || !*text)
        return otherwise;
    uint64_t value = strtoull(text, &end, 10);
    switch (*end) {
    case 'T':
        return value << 40;
    case 'G':
        return value << 30;
    case 'M':
        return value << 20;
    case 'K':
        return value << 10;
    default:
        return value;
    }
}

void fc_ledger_folder(void)
{
    const char *given = getenv("FAKECUDA_STATE"), *tmp = getenv("TMPDIR");
    if (folder[0])
        return;
    if (given && *given) {
        snprintf(folder, sizeof folder, "%s", given);
        return;
    }
    snprintf(folder, sizeof folder, "%s/fakecuda.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (mkdtemp(folder))
        own = true;
    else
        fprintf(stderr, "fakecuda: no folder %s for what is held: %s\n", folder, strerror(errno));
}

static void path_of(char *path, size_t room, const char *name)
{
    snprintf(path, room, "%s/%s", folder, name);
}

void fc_ledger_remove(void)
{
    char path[FC_FOLDER_MAX + 300];
    DIR *entries = own ? opendir(folder) : NULL;
    for (struct dirent *entry; entries && (entry = readdir(entries)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        path_of(path, sizeof path, entry->d_name);
        unlink(path);
    }
    if (entries)
        closedir(entries);
    if (own)
        rmdir(folder);
    own = false;
}

static int open_at(const char *name, int flags)
{
    char path[FC_FOLDER_MAX + 300];
    path_of(path, sizeof path, name);
    int fd = open(path, flags | O_CLOEXEC, ANYBODY);
    if (fd >= 0 && (flags & O_CREAT) != 0)
        (void)fchmod(fd, ANYBODY); /* whatever the umask; refused where another user has made it, who did the same */
    return fd;
}

static int lock_all(void)
{
    int fd = open_at("lock", O_RDWR);
    if (fd < 0)
        fd = open_at("lock", O_RDWR | O_CREAT);
    while (fd >= 0 && flock(fd, LOCK_EX) != 0 && errno == EINTR) {
    }
    return fd;
}

static void unlock_all(int fd)
{
    if (fd >= 0)
        close(fd);
}

static bool is_checkpointed(int pid)
{
    char     name[32];
    uint32_t state = 0;
    snprintf(name, sizeof name, "p.%d", pid);
    int  fd = open_at(name, O_RDONLY);
    bool is = fd >= 0 && pread(fd, &state, sizeof state, 0) == sizeof state && state == CU_PROCESS_CHECKPOINTED;
    if (fd >= 0)
        close(fd);
    return is;
}

struct piece {
    char     kind;
    int      device, pid;
    uint64_t bytes;
};

static bool name_is_piece(const char *name, struct piece *piece)
{
    unsigned number;
    return sscanf(name, "%c.%d.%d.%u", &piece->kind, &piece->device, &piece->pid, &number) == 4 &&
           (piece->kind == 'm' || piece->kind == 'c');
}

/* Somebody holds it; else it is removed, so that its memory goes too. Under lock_all(). */
static bool is_held(const char *name, struct piece *piece)
{
    struct stat status;
    char        path[FC_FOLDER_MAX + 300];
    int         fd = open_at(name, O_RDONLY);
    if (fd < 0)
        return false;
    bool held = flock(fd, LOCK_EX | LOCK_NB) != 0;
    if (!held) {
        path_of(path, sizeof path, name);
        unlink(path);
    }
    piece->bytes = fstat(fd, &status) == 0 ? (uint64_t)status.st_size : 0;
    close(fd);
    return held;
}

typedef void (*piece_fn)(const struct piece *piece, void *user);

static void for_pieces(piece_fn each, void *user)
{
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries)) != NULL;) {
        struct piece piece;
        if (name_is_piece(entry->d_name, &piece) && is_held(entry->d_name, &piece))
            each(&piece, user);
    }
    if (entries)
        closedir(entries);
}

struct sum {
    int      device, only;
    uint64_t bytes;
};

static void add(const struct piece *piece, void *user)
{
    struct sum *sum = user;
    if (piece->device != sum->device || (sum->only > 0 && piece->pid != sum->only))
        return;
    if (sum->only > 0 || !is_checkpointed(piece->pid))
        sum->bytes += piece->bytes;
}

uint64_t fc_ledger_used(int device, int only)
{
    struct sum sum = { .device = device, .only = only };
    int        all = lock_all();
    for_pieces(add, &sum);
    unlock_all(all);
    return sum.bytes;
}

int fc_ledger_take(char kind, int device, uint64_t bytes, uint64_t limit)
{
    struct sum sum = { .device = device };
    char       name[64];
    int        all = lock_all();
    for_pieces(add, &sum);
    errno = 0;
    if (device >= 0 && (sum.bytes > limit || bytes > limit - sum.bytes)) {
        unlock_all(all);
        errno = 0;
        return -1;
    }
    snprintf(name, sizeof name, "%c.%d.%d.%u", kind, device, (int)getpid(), made++);
    int fd = open_at(name, O_RDWR | O_CREAT | O_EXCL);
    if (fd >= 0 && (flock(fd, LOCK_SH) != 0 || ftruncate(fd, (off_t)bytes) != 0)) {
        int saved = errno;
        close(fd);
        fd = -1;
        errno = saved;
    }
    unlock_all(all);
    return fd;
}

struct gathered {
    int             device;
    struct fc_user *users;
    unsigned        room, count;
};

static void gather(const struct piece *piece, void *user)
{
    struct gathered *g = user;
    if (piece->kind != 'c' || piece->device != g->device || is_checkpointed(piece->pid))
        return;
    for (unsigned n = 0; n < g->count && n < g->room; n++) {
        if (g->users[n].pid == piece->pid)
            return;
    }
    if (g->count < g->room)
        g->users[g->count] = (struct fc_user){ .pid = piece->pid };
    g->count++;
}

unsigned fc_ledger_users(int device, struct fc_user *users, unsigned room)
{
    struct gathered g = { device, users, room, 0 };
    int             all = lock_all();
    for_pieces(gather, &g);
    unlock_all(all);
    for (unsigned n = 0; n < g.count && n < room; n++)
        users[n].bytes = fc_ledger_used(device, users[n].pid);
    return g.count;
}

bool fc_ledger_piece(int fd, char *kind, int *device, uint64_t *bytes)
{
    char         by_number[64], target[FC_FOLDER_MAX + 300];
    struct stat  status;
    struct piece piece;
    size_t       length = strlen(folder);
    snprintf(by_number, sizeof by_number, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(by_number, target, sizeof target - 1);
    if (got <= 0)
        return false;
    target[got] = '\0';
    if (strncmp(target, folder, length) != 0 || target[length] != '/' || !name_is_piece(target + length + 1, &piece) ||
        fstat(fd, &status) != 0)
        return false;
    *kind = piece.kind;
    *device = piece.device;
    *bytes = (uint64_t)status.st_size;
    return true;
}

/* ------------------------------------------------------------------------------------------------------- processes */

struct fc_process *fc_ledger_process(int pid, bool make)
{
    char  name[32];
    void *page = MAP_FAILED;
    snprintf(name, sizeof name, "p.%d", pid);
    int fd = open_at(name, O_RDWR);
    if (make && fd >= 0) { /* of somebody who had this number before */
        char path[FC_FOLDER_MAX + 300];
        path_of(path, sizeof path, name);
        unlink(path);
        close(fd);
        fd = -1;
    }
    if (fd < 0 && make) {
        fd = open_at(name, O_RDWR | O_CREAT | O_EXCL);
        if (fd >= 0 && (flock(fd, LOCK_SH) != 0 || ftruncate(fd, sizeof(struct fc_process)) != 0)) {
            close(fd);
            fd = -1;
        }
    } else if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) { /* it has ended */
        close(fd);
        fd = -1;
    }
    if (fd >= 0) {
        page = mmap(NULL, sizeof(struct fc_process), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd); /* the mapping keeps the file open, and its lock */
    }
    return page == MAP_FAILED ? NULL : page;
}

void fc_ledger_fail_clients(int but_pid)
{
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries)) != NULL;) {
        int                other;
        struct fc_process *process = NULL;
        if (sscanf(entry->d_name, "p.%d", &other) == 1 && other != but_pid)
            process = fc_ledger_process(other, false);
        if (process) {
            __atomic_store_n(&process->failed, __atomic_load_n(&process->client, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
            fc_ledger_process_put(process);
        }
    }
    if (entries)
        closedir(entries);
}

void fc_ledger_process_put(struct fc_process *process)
{
    munmap(process, sizeof *process);
}
