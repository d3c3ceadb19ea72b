//! Cron rows → executions, once per fire across workers.
