/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all processes hold of each device: a folder with a file for each piece. Whoever holds a piece has its file open
 * and locked (flock), and so does whoever got the descriptor from it, or maps the file; when the last of them has let
 * go, or was killed, the lock is gone and so is the piece. The file is the memory itself.
 *
 *     m.DEVICE.PID.N   memory, made by the process PID
 *     c.DEVICE.PID.N   a context's overhead: never written to
 *     p.PID            a process that has called cuInit (struct fc_process)
 *     lock             held while pieces are counted or made
 */
#ifndef FAKECUDA_LEDGER_H
#define FAKECUDA_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

enum { FC_DEVICES_MAX = 16, FC_FOLDER_MAX = 512 };

/* Shared by its process and by those that checkpoint it; its fields are atomic. */
struct fc_process {
    uint32_t state;   /* CU_PROCESS_* */
    uint32_t pending; /* work that its streams have not carried out */
    uint32_t shared;  /* memory it has exported or imported */
    uint32_t turn;    /* changes when state does: a futex */
    uint32_t client;  /* of MPS */
    uint32_t failed;  /* another client has made the device fault */
};

struct fc_user {
    int      pid;
    uint64_t bytes;
};

void fc_ledger_folder(void); /* from FAKECUDA_STATE, or one of our own. Once */
void fc_ledger_remove(void); /* one of our own */

/* The file of a new piece, or -1: no room below `limit` (errno 0), or errno. */
int fc_ledger_take(char kind, int device, uint64_t bytes, uint64_t limit);

/* Bytes of `device` in use, or those of process `only` (checkpointed or not). */
uint64_t fc_ledger_used(int device, int only);

/* Processes with a context on `device`, and what they hold: how many there are, of which at most `room` are stored. */
unsigned fc_ledger_users(int device, struct fc_user *users, unsigned room);

/* Whose piece an fd is: its kind, device and bytes. False: not one of ours. */
bool fc_ledger_piece(int fd, char *kind, int *device, uint64_t *bytes);

/* The shared page of a process, made for our own; NULL: there is none. */
struct fc_process *fc_ledger_process(int pid, bool make);
void               fc_ledger_process_put(struct fc_process *process);
void               fc_ledger_fail_clients(int but_pid);

uint64_t fc_bytes_of(const char *text, uint64_t otherwise); /* "24G" */

#endif
