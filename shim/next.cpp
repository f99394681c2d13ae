#include "shim/next.h"

#include <elf.h>
#include <link.h>

#include <cstdint>
#include <cstring>

namespace lull {
namespace {

// The dynamic symbols of one loaded object, through its GNU hash table.
class Symbols {
 public:
  explicit Symbols(const dl_phdr_info& object) : base_(object.dlpi_addr) {
    for (unsigned i = 0; i < object.dlpi_phnum; ++i)
      if (object.dlpi_phdr[i].p_type == PT_DYNAMIC)
        read(reinterpret_cast<const ElfW(Dyn)*>(base_ + object.dlpi_phdr[i].p_vaddr));
  }

  void* find(const char* name) const {
    if (!hash_ || !symbols_ || !strings_ || hash_[0] == 0) return nullptr;
    const std::uint32_t wanted = hash_of(name);
    const std::uint32_t bucket_count = hash_[0], first_symbol = hash_[1], bloom_words = hash_[2];
    const std::uint32_t* buckets = hash_ + 4 + bloom_words * (sizeof(ElfW(Addr)) / 4);
    const std::uint32_t* chain = buckets + bucket_count;
    std::uint32_t index = buckets[wanted % bucket_count];
    if (index < first_symbol) return nullptr;
    for (;; ++index) {
      const std::uint32_t value = chain[index - first_symbol];
      if ((value | 1) == (wanted | 1) && defines(symbols_[index], name))
        return reinterpret_cast<void*>(base_ + symbols_[index].st_value);
      if (value & 1) return nullptr;
    }
  }

 private:
  static std::uint32_t hash_of(const char* name) {
    std::uint32_t h = 5381;
    for (; *name; ++name) h = h * 33 + static_cast<unsigned char>(*name);
    return h;
  }

  bool defines(const ElfW(Sym) & symbol, const char* name) const {
    return symbol.st_shndx != SHN_UNDEF && ELF64_ST_TYPE(symbol.st_info) == STT_FUNC &&
           std::strcmp(strings_ + symbol.st_name, name) == 0;
  }

  void read(const ElfW(Dyn) * entry) {
    for (; entry->d_tag != DT_NULL; ++entry) {
      if (entry->d_tag == DT_GNU_HASH) hash_ = at<std::uint32_t>(entry->d_un.d_ptr);
      if (entry->d_tag == DT_SYMTAB) symbols_ = at<ElfW(Sym)>(entry->d_un.d_ptr);
      if (entry->d_tag == DT_STRTAB) strings_ = at<char>(entry->d_un.d_ptr);
    }
  }

  // The loader rewrites these addresses in objects whose dynamic section is writable, and only there.
  template <typename T>
  const T* at(ElfW(Addr) address) const {
    return reinterpret_cast<const T*>(address < base_ ? base_ + address : address);
  }

  ElfW(Addr) base_;
  const std::uint32_t* hash_ = nullptr;
  const ElfW(Sym) * symbols_ = nullptr;
  const char* strings_ = nullptr;
};

struct Search {
  const char* name;
  bool behind_us = false;
  void* found = nullptr;
};

bool contains(const dl_phdr_info& object, const void* address) {
  const auto wanted = reinterpret_cast<ElfW(Addr)>(address);
  for (unsigned i = 0; i < object.dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = object.dlpi_phdr[i];
    const ElfW(Addr) start = object.dlpi_addr + part.p_vaddr;
    if (part.p_type == PT_LOAD && wanted >= start && wanted - start < part.p_memsz) return true;
  }
  return false;
}

int visit(dl_phdr_info* object, std::size_t, void* argument) {
  auto& search = *static_cast<Search*>(argument);
  if (!search.behind_us) {
    search.behind_us = contains(*object, reinterpret_cast<const void*>(&visit));
    return 0;
  }
  search.found = Symbols(*object).find(search.name);
  return search.found ? 1 : 0;
}

}  // namespace

void* any_function(const char* name) {
  Search search{.name = name, .behind_us = true};
  ::dl_iterate_phdr(visit, &search);
  return search.found;
}

void* next_function(const char* name) {
  Search search{.name = name};
  ::dl_iterate_phdr(visit, &search);
  return search.found;
}

}  // namespace lull
