//! Rule files of Weir: format, loader, linter and test runner.
