/* SPDX-License-Identifier: Apache-2.0 */
/* The written scenarios, by subject. */
#ifndef SGI_SIM_SCENARIO_LIST_H
#define SGI_SIM_SCENARIO_LIST_H

#include "sim/scenario.h"

extern const struct scenario scenario_requests[], scenario_tiers[], scenario_failures[], scenario_ends[],
    scenario_crowds[];
extern const uint32_t scenario_requests_count, scenario_tiers_count, scenario_failures_count, scenario_ends_count,
    scenario_crowds_count;

#endif
