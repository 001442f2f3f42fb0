/* SPDX-License-Identifier: Apache-2.0 */
/** @file version.h  The version of the headers; the build reads it from here, so it stands once. */
#ifndef SGI_VERSION_H
#define SGI_VERSION_H

#define SGI_VERSION_MAJOR 0
#define SGI_VERSION_MINOR 1
#define SGI_VERSION_PATCH 0

/** The version as one number that compares: 0.1.0 is 100, 1.2.3 is 10203. */
#define SGI_VERSION (SGI_VERSION_MAJOR * 10000 + SGI_VERSION_MINOR * 100 + SGI_VERSION_PATCH)

#endif
