#include "CKernels.h"
#include <sys/mman.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

void *ck_take_pages(size_t bytes) {
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void ck_give_pages_back(void *pages, size_t bytes) { munmap(pages, bytes); }

void ck_return_free_memory(void) {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

void ck_keep_free_memory(void) {
#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, 256 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
}
