/** Runs before each test file. Files share modules: what is to run once is in a module of its own. */
import './helpers/equal-bytes.js';
