// protocol/result.h: a value, or what failed. Usable without exceptions, allocation or the C++ library.
#pragma once
#include <cerrno>
#include <optional>
#include <utility>

namespace lull {

// What was tried (a literal) and the errno it ended with; 0: not a system call's failure.
struct Error {
  const char* what;
  int code = 0;
};
inline Error system_error(const char* what) { return {what, errno}; }

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: conversion is the point
  Result(Error error) : error_(error) {}         // NOLINT
  explicit operator bool() const { return value_.has_value(); }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  const Error& error() const { return error_; }

 private:
  std::optional<T> value_;
  Error error_{"", 0};
};

struct Done {};
using Status = Result<Done>;

}  // namespace lull
