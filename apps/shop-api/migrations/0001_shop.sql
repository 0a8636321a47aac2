-- The shop's tables. The migrator has made the schema already: its own table of migrations lies in it.

create table shop.categories (
    id bigint generated always as identity primary key,
    name text not null constraint categories_name_key unique,
    constraint categories_name_check check (char_length(name) between 1 and 200)
);

create table shop.products (
    -- 'always': the id of a deleted product never comes back. A cached version 7 of product 42 can therefore only be
    -- older than version 8 of product 42, never a different product's.
    id bigint generated always as identity primary key,
    -- A product stays in its category (a trigger sees to it): which tags its cached entry is filed under has to follow from
    -- the entry's key, and this makes the category follow from the id.
    category_id bigint not null constraint products_category_id_fkey references shop.categories (id),
    name text not null,
    description text not null default '',
    -- In units of the currency's smallest coin.
    price_cents bigint not null,
    currency char(3) not null,
    stock int not null default 0,
    version bigint not null default 1,
    updated_at timestamptz not null default now(),
    -- What the search looks in; a trigger fills it. As a generated column it would be computed again by every update, prices
    -- included, because there is a trigger before updates: ten thousand new prices took six times as long.
    search tsvector not null default '',
    constraint products_name_check check (char_length(name) between 1 and 200),
    constraint products_description_check check (octet_length(description) <= 8192),
    constraint products_price_check check (price_cents between 0 and 1000000000000),
    constraint products_currency_check check (currency ~ '^[A-Z]{3}$'),
    constraint products_stock_check check (stock >= 0)
) with (
    -- Room on each page for new versions of its rows: a bulk change of prices then touches no index, above all not the one of
    -- the search.
    fillfactor = 75
);

-- The pages of a category.
create index products_category_id_id_idx on shop.products (category_id, id);

create index products_search_idx on shop.products using gin (search);

-- The version is the ETag and the cache's order of two states of a row. It is drawn while the row is locked, so its
-- order is the order of the commits; a clock, or a sequence drawn earlier in the transaction, is not.
create function shop.products_advance() returns trigger language plpgsql as $$
begin
    new.version := old.version + 1;
    new.updated_at := now();
    return new;
end
$$;

create trigger products_advance before update on shop.products
    for each row execute function shop.products_advance();

create function shop.products_describe() returns trigger language plpgsql as $$
begin
    new.search := setweight(to_tsvector('pg_catalog.english', new.name), 'A')
               || setweight(to_tsvector('pg_catalog.english', new.description), 'B');
    return new;
end
$$;

create trigger products_describe before insert or update of name, description, search on shop.products
    for each row execute function shop.products_describe();

create function shop.products_stay() returns trigger language plpgsql as $$
begin
    raise exception 'a product stays in its category' using errcode = 'restrict_violation';
end
$$;

create trigger products_stay before update of category_id on shop.products
    for each row when (new.category_id is distinct from old.category_id)
    execute function shop.products_stay();

-- With this the replicas sign the versions that they hand out (X-Seen-Version), so that no client can make one up.
create table shop.secrets (
    name text primary key,
    value bytea not null
);

insert into shop.secrets (name, value)
values ('seen-version', sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));
